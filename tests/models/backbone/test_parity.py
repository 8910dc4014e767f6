"""Every module says what the official package said, on recorded inputs; whole generations too, noise injected."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.backbone.backbone import Backbone
from models.backbone.flow import Sampler, sampler_for

pytestmark = pytest.mark.shared
Tensors = dict[str, Tensor]
Read = Callable[[str], Tensors]
Load = Callable[[str], Backbone]
Close = Callable[[Tensor, Tensor], None]


@pytest.fixture(autouse=True)
def no_grad() -> object:
    with torch.no_grad():
        yield


def test_semantic_encoder_whole_and_in_chunks(official: Load, fixture: Read, close: Close) -> None:
    encoder, recorded = official("tiny_ckpt").patch_encoder, fixture("semantic_encoder")
    latent_BFD = recorded["latents"]
    close(encoder(latent_BFD), recorded["full"])
    state = encoder.start(1)
    chunks = [latent_BFD[:, :12], *(latent_BFD[:, start : start + 4] for start in range(12, 24, 4))]
    close(torch.cat([encoder(chunk, state) for chunk in chunks], dim=1), recorded["incremental"])


def test_llm_and_stop_head(official: Load, fixture: Read, close: Close) -> None:
    backbone, recorded = official("tiny_ckpt"), fixture("llm")
    close(backbone.llm(recorded["inputs_embeds"]), recorded["hidden"])
    close(backbone.llm.logits(recorded["hidden"]), recorded["logits"])
    close(backbone.stop_logits(recorded["hidden"]), recorded["eos_logits"])


@pytest.mark.parametrize(
    ("name", "part", "told", "out"),
    [
        ("tiny_ckpt", "fm", False, "velocity"),
        ("tiny_mf", "mf", False, "velocity"),
        ("tiny_mf", "mf", True, "velocity_duration"),
    ],
)
def test_head(official: Load, fixture: Read, close: Close, name: str, part: str, told: bool, out: str) -> None:
    backbone = official(name)
    recorded = {key.removeprefix(f"{part}."): value for key, value in fixture("dit").items() if key.startswith(part)}
    head = backbone.velocity_field_predictor
    close(head.time_embedder.sinusoids(recorded["t"]), recorded["t_sinus"])
    close(head.time_embedder(recorded["t"]), recorded["t_emb"])
    close(backbone.speaker(recorded["xvec_in"]), recorded["xvec_proj"])
    duration_B = recorded["duration"] if told else None
    real = recorded["seq_mask"]
    modulation = head.modulation(recorded["t"], speaker_BH=recorded["g_cond"], duration_B=duration_B)
    mask = recorded["attn_mask"][:, None]
    found = head(recorded["fm_seq"], rotary=head.rotary(recorded["pos_ids"]), mask=mask, modulation=modulation)
    close(found[real], recorded[out][real])
    # the first utterance, through our own layout of [C|Z]
    conditions = {"time_B": recorded["t"], "speaker_BH": recorded["g_cond"], "duration_B": duration_B}
    parallel = backbone.velocity(recorded["H"], recorded["P"], recorded["Z"], **conditions)
    close(parallel[0], recorded[out][0, 15:].reshape(3, 5, 16)[:, 1:].reshape(12, 16))


@pytest.mark.parametrize(
    ("name", "recording", "sampler"),
    [
        ("tiny_ckpt", "gen_fm_clone", {"steps": 6, "guidance": 1.2}),
        ("tiny_ckpt", "gen_fm_noprompt", {"steps": 3, "guidance": 2.0, "method": "midpoint"}),
        ("tiny_mf", "gen_mf_clone", {"steps": 4}),
    ],
)
def test_a_whole_generation_patch_by_patch(
    official: Load, fixture: Read, close: Close, shared: Path, name: str, recording: str, sampler: dict[str, object]
) -> None:
    """The cached head, the streaming semantic encoder and the cached LLM against the official eager path."""
    backbone, recorded = official(name), fixture(recording)
    stats = torch.load(shared / "parity" / "tiny_ckpt" / "latent_stats.pt", weights_only=True)
    mean_D, std_D = stats["mean"], stats["var"].sqrt()
    prompted = "prompt.patches_norm" in recorded
    speaker_BH = recorded["g_cond"] if "g_cond" in recorded else backbone.speaker(None)
    state, cache = backbone.start(), backbone.start_head(sampler_for(backbone.config, **sampler), speaker_BH)
    hidden_BLH = backbone.prefill(state, recorded["llm.000.inputs_embeds"])
    close(hidden_BLH, recorded["llm.000.hidden"])
    if prompted:
        close(backbone.embed_patches(state, recorded["prompt.latents_raw"]), recorded["enc.000.prefill.out"])
        patches = recorded["prompt.patches_norm"]
        backbone.append_patches(cache, hidden_BLH[:, -patches.shape[1] - 1 : -1], patches.flatten(1, 2))
    hidden_BH = hidden_BLH[:, -1]
    made = 0
    while f"patch.{made:03d}" in recorded:
        patch = backbone.sample_patch(cache, hidden_BH, recorded[f"rng.{made + prompted:03d}.randn"])
        close(patch, recorded[f"patch.{made:03d}"].reshape(patch.shape))
        backbone.append_patches(cache, hidden_BH, patch)
        made += 1
        if f"llm.{made:03d}.hidden" in recorded:
            hidden_BH = backbone.next_hidden(state, patch * std_D + mean_D)
            close(hidden_BH, recorded[f"llm.{made:03d}.hidden"][:, -1])
    assert made >= 4


def test_samplers_of_the_recordings_have_their_evaluations(official: Load) -> None:
    assert sampler_for(official("tiny_mf").config, steps=4) == Sampler("meanflow", 4, tells_duration=True)
    assert sampler_for(official("tiny_ckpt").config) == Sampler("flow", 10, guidance=1.2)
