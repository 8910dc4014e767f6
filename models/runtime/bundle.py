"""A bundle: what a stage takes and makes, and what a user loads. The official directory format, and files of ours.

    config.json  llm_config.json  model.safetensors  vocoder.safetensors  speaker_encoder.safetensors  latent_stats.pt
    tokenizer files                  official names, shapes and semantics
    stipple.json                     ours: stage, run id, fingerprint, parents, licenses (absent from official releases)
    checksums.json                   ours: a CRC-32 of every tensor, so that changed or swapped ones are found
    training/<part>.safetensors      ours: parts that only training needs (discriminator, flow, semantic_encoder, ...)

A bundle may be partial while it is being trained: an AudioVAE stage has no backbone yet.
"""

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from models.runtime import files, hub, tensors
from models.runtime.configuration import CONFIG, LLM_CONFIG, check_llm, read_config, unusable
from models.runtime.files import BundleError
from models.runtime.voice import Prompts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from models.audiovae.vae import AudioVAE
    from models.backbone.backbone import Backbone
    from models.backbone.config import ModelConfig
    from models.runtime.slot_pool import SlotPool
    from models.speaker.campplus import SpeakerEncoder

__all__ = ["Bundle", "BundleError", "find_bundle", "load_bundle", "new_bundle", "save_bundle"]

FORMAT = "stipple-bundle/1"
CORE, VOCODER, SPEAKER = "model.safetensors", "vocoder.safetensors", "speaker_encoder.safetensors"
TENSOR_FILE = re.compile(r"(model|vocoder|speaker_encoder|training/[A-Za-z0-9_]+)\.safetensors|latent_stats\.pt")
STATS, CARD, CHECKSUMS = "latent_stats.pt", "stipple.json", "checksums.json"


@dataclass
class Bundle:
    """Networks and what belongs to them: float32 and on the CPU, unless models.runtime.precision moved them."""

    config: "ModelConfig"
    audiovae: "AudioVAE"
    speaker: "SpeakerEncoder"
    tokenizer: "PreTrainedTokenizerBase"
    backbone: "Backbone | None" = None
    latent_mean_D: Tensor | None = None
    latent_var_D: Tensor | None = None
    training: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    """Part -> state dict, for parts that only training needs."""
    card: dict[str, Any] = field(default_factory=dict)
    """stipple.json: where it came from."""
    prompts: Prompts = field(default_factory=Prompts, compare=False, repr=False)
    """What its networks said of the recordings that they were given to imitate."""
    slots: "SlotPool | None" = field(default=None, compare=False, repr=False)
    """Where it speaks by CUDA graphs (models.runtime.precision.place); None: the ordinary way."""


def new_bundle(
    config: "ModelConfig", *, seed: int, tokenizer: Path | None = None, speaker: Path | None = None
) -> Bundle:
    """A bundle with seeded random weights and no backbone.

    `tokenizer`: a folder with an official tokenizer; None builds the byte-level one (models.text.tokens).
    `speaker`: an official `speaker_encoder.safetensors`; None draws random weights (an untrained CAM++).

    Raises: BundleError when a given file is not what it should be.
    """
    from models.audiovae.initialize import initialize
    from models.audiovae.vae import AudioVAE
    from models.speaker.campplus import SpeakerEncoder
    from models.text.tokens import byte_tokenizer

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        campplus = SpeakerEncoder(rate_hz=config.audiovae.sample_rate, width=config.campplus_embedding_size)
        audiovae = AudioVAE(config.audiovae)
    initialize(audiovae, seed=seed)
    if speaker is not None:
        tensors.fill({speaker.name: campplus}, where=speaker.parent)
    words = byte_tokenizer() if tokenizer is None else files.read_tokenizer(tokenizer)
    return Bundle(
        config=with_vocabulary(config, len(words)),
        audiovae=audiovae.eval(),
        speaker=campplus.eval(),
        tokenizer=words,
    )


def load_bundle(path: str | Path, *, download: bool = False, revision: str | None = None) -> Bundle:
    """Load an official directory or ours, from a path or a hub id (see `find_bundle`); nothing is unpickled unsafely.

    The backbone takes no gradient, so that its layers may pack their weights; a stage says which parts it trains.

    Raises: BundleError, naming every missing file, or every missing, unexpected, misshapen or changed tensor.
    """
    from models.audiovae.vae import AudioVAE
    from models.backbone.backbone import Backbone
    from models.speaker.campplus import SpeakerEncoder

    root = Path(path)
    if not root.exists() and hub.is_hub_id(str(path)):
        root = hub.cached(str(path), download=download, revision=revision)
    card = files.read_card(root, CARD)
    present = check_files(root, card)
    tokenizer = files.read_tokenizer(root)
    config = with_vocabulary(read_config(root), len(tokenizer))
    with files.as_bundle_error(unusable(root)), torch.random.fork_rng(devices=[]):
        audiovae = AudioVAE(config.audiovae)
        speaker = SpeakerEncoder(rate_hz=config.audiovae.sample_rate, width=config.campplus_embedding_size)
        backbone = Backbone(config) if CORE in present else None
        if backbone is not None:
            check_llm(backbone)
    networks: dict[str, nn.Module] = {VOCODER: audiovae, SPEAKER: speaker}
    if backbone is not None:
        networks[CORE] = backbone
    sums = files.read_sums(root / CHECKSUMS)
    tensors.fill(networks, where=root, sums=sums)
    mean_D, var_D = files.read_stats(root / STATS, width=config.latent_dim) if STATS in present else (None, None)
    if mean_D is not None and var_D is not None:
        tensors.check_sums(root / STATS, {"mean": mean_D, "var": var_D}, sums.get(STATS))
    return Bundle(
        config=config,
        audiovae=audiovae.eval().requires_grad_(False),
        speaker=speaker.eval(),
        tokenizer=tokenizer,
        backbone=None if backbone is None else backbone.eval().requires_grad_(False),
        latent_mean_D=mean_D,
        latent_var_D=var_D,
        training={
            Path(name).stem: tensors.read_tensors(root / name, sums.get(name))
            for name in sorted(present)
            if name.startswith("training/")
        },
        card={key: value for key, value in card.items() if key not in ("format", "files")},
    )


def with_vocabulary(config: "ModelConfig", words: int) -> "ModelConfig":
    """The configuration with as many token embeddings as the tokenizer has entries, whatever its file says."""
    return replace(config, llm={**config.llm, "vocab_size": words})


def find_bundle(
    path: str | Path, *, download: bool = False, revision: str | None = None, cache: Path | None = None
) -> Path:
    """The bundle's own folder, given it, an artifact of a training stage that holds it, or a hub id.

    An artifact has it in bundle/ or out/bundle/. See models.runtime.hub.cached for the others.

    Raises: BundleError when there is none.
    """
    root = Path(path)
    if not root.exists() and hub.is_hub_id(str(path)):
        root = hub.cached(str(path), download=download, revision=revision, cache=cache)
    for folder in (root, root / "bundle", root / "out" / "bundle"):
        if (folder / CONFIG).is_file():
            return folder
    if not root.is_dir():
        check_files(root, {})
    if snapshots := sorted(str(folder) for folder in (root / "snapshots").glob("*")):
        raise BundleError(
            f"{root} is what the hub's cache keeps of a model; give its hub id (owner/model), or "
            f"{' or '.join(snapshots)}"
        )
    raise BundleError(
        f"there is no bundle in {root}: neither it nor bundle/ nor out/bundle/ in it has a {CONFIG}; "
        "give the folder of a downloaded checkpoint, or what a training stage made"
    )


def check_files(root: Path, card: Mapping[str, Any]) -> set[str]:
    """Names of the files with tensors that the bundle has, after making sure that none is missing.

    An official directory has all of them; one of ours says in its card which it has.

    Raises: BundleError naming every missing file.
    """
    if not root.exists():
        raise BundleError(
            f"there is no bundle at {root}; give the folder of a checkpoint, or what a training stage made"
        )
    if not root.is_dir():
        raise BundleError(f"{root} is a file; a bundle is a folder with {CONFIG}, {VOCODER} and others")
    if card and card.get("format") != FORMAT:
        raise BundleError(f"{root}/{CARD}: its format is {card.get('format')!r}, and this version reads {FORMAT!r}")
    listed = {str(name) for name in card["files"]} if card else {CORE, VOCODER, SPEAKER, STATS}
    strange = sorted(name for name in listed if not TENSOR_FILE.fullmatch(name))
    if strange:
        raise BundleError(f"{root}/{CARD} lists files that no bundle has: {', '.join(strange)}")
    needed = {CONFIG, LLM_CONFIG, VOCODER, SPEAKER} | listed
    missing = sorted(name for name in needed if not (root / name).is_file())
    if not files.has_tokenizer(root):
        missing.append("tokenizer.json (or vocab.json with merges.txt)")
    if missing:
        raise BundleError(f"{root} is not a whole bundle; missing: {', '.join(missing)}")
    if pointers := sorted(name for name in {*needed, *files.TOKENIZER} if files.is_pointer(root / name)):
        raise BundleError(
            f"{root} has pointers of Git LFS in the place of {', '.join(pointers)}: run `git lfs pull` in it, or "
            "download the files"
        )
    return listed


def save_bundle(bundle: Bundle, path: str | Path, *, card: Mapping[str, Any] | None = None) -> None:
    """Write the official layout (and our additions) into the empty or absent folder `path`, all of it or nothing.

    Raises: BundleError when the folder has something in it, or cannot be written.
    """
    core, llm = bundle.config.to_dicts()
    states = {VOCODER: bundle.audiovae.state_dict(), SPEAKER: bundle.speaker.state_dict()}
    if bundle.backbone is not None:
        states[CORE] = bundle.backbone.state_dict()
    for part, state in bundle.training.items():
        states[f"training/{part}.safetensors"] = state
    names = sorted([*states, STATS] if bundle.latent_mean_D is not None else states)
    with files.whole_or_nothing(Path(path)) as folder:
        files.write_json(folder / CONFIG, core)
        files.write_json(folder / LLM_CONFIG, llm)
        for name, state in states.items():
            tensors.write_tensors(folder / name, state)
        sums = {name: tensors.checksums(state) for name, state in states.items()}
        if bundle.latent_mean_D is not None:
            assert bundle.latent_var_D is not None
            stats = {"mean": bundle.latent_mean_D.float().cpu(), "var": bundle.latent_var_D.float().cpu()}
            told = io.BytesIO()  # torch tells nothing of a disk that refuses
            torch.save(stats, told)
            (folder / STATS).write_bytes(told.getvalue())
            sums[STATS] = tensors.checksums(stats)
        files.write_json(folder / CHECKSUMS, sums)
        with files.as_bundle_error(f"the bundle could not be written to {path}"):
            bundle.tokenizer.save_pretrained(str(folder))
        facts = {**json.loads(json.dumps(bundle.card)), **(card or {}), "format": FORMAT, "files": names}
        files.write_json(folder / CARD, facts)
