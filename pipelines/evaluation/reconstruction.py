"""Recordings through the AudioVAE and back."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from pipelines.evaluation.choosing import choose, text_of, voice_of
from pipelines.evaluation.kept import Shelf, Utterances
from pipelines.evaluation.manifest import EvalManifest
from pipelines.evaluation.metrics import Utterance, checked
from pipelines.shards import Corpus

if TYPE_CHECKING:
    from models.audiovae.vae import AudioVAE
    from models.runtime.bundle import Bundle


def reconstructions(
    bundle: "Bundle", corpus: Corpus, manifest: EvalManifest, *, shelf: Shelf, say: Callable[[str], None]
) -> dict[str, Utterances]:
    """The chosen recordings after encoding and decoding, by the bundle and (if asked) by an untrained AudioVAE."""
    from models.runtime.bundle import new_bundle

    wanted = manifest.reconstruction
    assert wanted is not None
    asked = [partial(unmade, corpus, number) for number in choose(corpus, wanted.inputs, seed=manifest.seed)]
    networks = {"bundle": bundle.audiovae}
    if wanted.untrained:
        networks["untrained"] = new_bundle(bundle.config, seed=manifest.seed).audiovae.to(manifest.device)
    made = {}
    for name, audiovae in networks.items():
        say(f"{name}: {len(asked)} recordings through the AudioVAE and back")
        by = {"network": name, **manifest.model_dump(include={"device", "precision"})}
        by |= {"seed": manifest.seed} if name == "untrained" else {}
        made[name] = shelf.made(asked, partial(reconstruct, audiovae), by=by, tell=lambda *_: None)
    return made


def unmade(corpus: Corpus, number: int) -> Utterance:
    """A recording at 48 kHz, to be made again."""
    import torch

    from models.audiovae.resample import RATE_HZ, resample_kaiser

    sample = corpus.sample(number)
    return Utterance(
        key=sample.key,
        text=text_of(sample.record),
        language=sample.record.get("language"),
        voice=voice_of(sample.record),
        against_S=resample_kaiser(torch.from_numpy(sample.wave_S), sample.rate_hz, RATE_HZ).numpy(),
        against_rate_hz=RATE_HZ,
        aligned=True,
    )


def reconstruct(audiovae: "AudioVAE", asked: Utterance) -> Utterance:
    """One recording through encoder (posterior mean) and decoder."""
    import torch

    from models.audiovae.resample import PATCH_SAMPLES, RATE_HZ

    assert asked.against_S is not None
    begun = time.perf_counter()
    device = next(audiovae.parameters()).device
    with torch.no_grad():
        input_S = torch.from_numpy(asked.against_S)
        padded_1S = torch.nn.functional.pad(input_S, (0, -len(input_S) % PATCH_SAMPLES))[None].to(device)
        output_S = audiovae.decode(audiovae.encode(padded_1S).mean_BFD)[0, : len(input_S)].cpu()
    spent = time.perf_counter() - begun
    return checked(replace(asked, wave_S=output_S.numpy(), rate_hz=RATE_HZ, making_seconds=spent))
