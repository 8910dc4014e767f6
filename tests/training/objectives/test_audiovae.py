"""AudioVAE stages: who gets which gradient, what a step is a function of, and that speech is learned."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from infra.manifest import ManifestError
from models.audiovae.config import AudioVAEConfig
from models.audiovae.supervision import Answer, HeadConfig, Supervision
from models.backbone.config import ModelConfig, SemanticEncoderConfig
from models.runtime.bundle import Bundle, new_bundle
from tests.small import small_bundle
from training.data.draw import Draw
from training.engine import PlainEngine
from training.manifest import Engine, Optimizer, load_model
from training.objectives import Batch, audiovae, audiovae_semantic
from training.update import Micro, Moment, only, update
from training.world import World

PATCH, RATE_HZ = 7680, 48000
SETTINGS: dict[str, Any] = {
    "crop_frames": 8,
    "kl_weight": 0.02,
    "kl_ramp_steps": 100,
    "discriminator": {"periods": [2, 3], "period_channels": [4, 8], "cqt_hops": [], "cqt_bins": []},
    "flow": {"hidden": 8, "layers": 2, "couplings": 2},
}
CFG = audiovae.Config.model_validate(SETTINGS)
HEAD = {"width": 32, "layers": 1, "heads": 2, "key_value_heads": 1, "ffn": 32}
SEMANTIC = audiovae_semantic.Config.model_validate({**SETTINGS, "head": HEAD})
VOCODER = AudioVAEConfig(
    downsample_channels=(12, 8, 8, 12, 16, 24, 32),
    upsample_initial_channel=64,
    resblock_kernel_sizes=(3,),
    resblock_dilation_sizes=((1, 3),),
    latent_dim=8,
    mi_num_layers=1,
)
MODEL = ModelConfig(
    latent_dim=8,
    patch_size=4,
    llm={"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 512},
    audiovae=VOCODER,
    semantic_encoder=SemanticEncoderConfig(
        num_layers=1, num_heads=2, hidden_size=32, ffn_hidden_size=64, norm_layer="RMSNorm"
    ),
)


def voiced(seconds: float, *, pitch_hz: float, seed: int) -> Tensor:
    """Harmonics under three wandering formants, in syllables; shape (S,)."""
    draw = torch.Generator().manual_seed(seed)
    time = torch.arange(round(seconds * RATE_HZ)) / RATE_HZ
    formants = torch.tensor([500.0, 1500.0, 2500.0]).view(3, 1) * (
        1 + 0.3 * torch.sin(2 * math.pi * (1 + torch.rand(3, 1, generator=draw)) * time)
    )
    turn = 2 * math.pi * torch.cumsum(pitch_hz * (1 + 0.05 * torch.sin(7 * time)), 0) / RATE_HZ
    wave = torch.zeros_like(time)
    for number in range(1, int(4000 / pitch_hz)):
        gain = (1 / (1 + ((number * pitch_hz - formants) / 150).square())).sum(0)
        wave += gain * torch.sin(number * turn)
    wave *= torch.sin(2 * math.pi * 2.5 * time).abs()
    return 0.3 * wave / wave.abs().max() + 0.002 * torch.randn(len(time), generator=draw)


def batch_of(patches: list[int], *, first: int = 0) -> Batch:
    """Utterances of so many patches each."""
    waves = [voiced(n * 0.16, pitch_hz=100 + 40 * i, seed=first + i) for i, n in enumerate(patches)]
    return Batch(
        keys=[f"clip{first + i}" for i in range(len(patches))],
        wave_BS=torch.nn.utils.rnn.pad_sequence(waves, batch_first=True),
        length_B=torch.tensor([n * PATCH for n in patches]),
        texts=[["good day", "", "well"][i % 3] for i in range(len(patches))],
        languages=[None] * len(patches),
        speakers=[["anna", None, "ben"][i % 3] for i in range(len(patches))],
        emotions=[["sad", "calm", None][i % 3] for i in range(len(patches))],
    )


def bundle() -> Bundle:
    return new_bundle(MODEL, seed=0)


def draw_for(batch: Batch, *, step: int) -> Draw:
    return Draw(0, step, batch.keys)


def engines(objective: audiovae.Objective, *, lr: float) -> dict[str, PlainEngine]:
    optimizer = Optimizer(lr=lr, betas=(0.8, 0.99), eps=1e-6, clip=500.0)
    return {
        name: PlainEngine(player.train(), manifest=Engine(name="plain"), optimizer=optimizer, world=World())
        for name, player in objective.players.items()
    }


def step_all(
    objective: audiovae.Objective, movers: Mapping[str, PlainEngine], batch: Batch, *, step: int, lr: float
) -> dict[str, float]:
    """One step as the loop does it."""
    draw, losses = draw_for(batch, step=step), {}
    micro = Micro(objective.prepare(batch, draw), draw)
    for name, mover in movers.items():
        with only(name, movers):
            at = Moment(stage="test", step=step, player=name)
            found, _ = update(mover, [micro], weights=objective.weights[name], lr=lr, world=World(), at=at)
        losses.update(found)
    return losses


def grads(module: torch.nn.Module) -> list[bool]:
    return [parameter.grad is not None and bool(parameter.grad.abs().max() > 0) for parameter in module.parameters()]


def test_each_player_has_gradients_in_itself_alone() -> None:
    objective = audiovae.Objective(CFG, bundle(), seed=0)
    batch = batch_of([3, 2])
    draw, movers = draw_for(batch, step=0), engines(objective, lr=1e-3)
    prepared = objective.prepare(batch, draw)
    discriminator, generator = objective.players["discriminator"], objective.players["generator"]
    assert tuple(objective.players) == audiovae.PLAYERS
    assert not set(generator.parameters()) & set(discriminator.parameters())
    with only("discriminator", movers):
        discriminator(prepared, draw)["adv/discriminator"].total.backward()
    assert all(grads(discriminator))
    assert not any(grads(generator))
    objective.discriminator.zero_grad(set_to_none=True)
    with only("generator", movers):
        terms = generator(prepared, draw)
        torch.stack([terms[name].total for name in objective.weights["generator"]]).sum().backward()
    assert not any(grads(discriminator))
    assert all(grads(objective.vae.decoder.conv_pre))
    assert all(grads(objective.vae.audio_encoder))
    assert all(parameter.requires_grad for parameter in discriminator.parameters())


def test_a_sample_gets_the_same_crop_and_noise_in_any_batch() -> None:
    objective = audiovae.Objective(CFG, bundle(), seed=0)
    both, alone = batch_of([6, 4]), batch_of([6])
    crops = objective.prepare(both, draw_for(both, step=5))
    single = objective.prepare(alone, draw_for(alone, step=5))
    assert crops.wave_BS.shape == (2, 8 * 1920)
    assert torch.equal(crops.wave_BS[0], single.wave_BS[0])
    assert torch.equal(crops.noise_BFD[0], single.noise_BFD[0])
    later = objective.prepare(alone, draw_for(alone, step=6))
    assert not torch.equal(later.wave_BS, single.wave_BS)


def test_a_short_utterance_is_followed_by_silence() -> None:
    objective, batch = audiovae.Objective(CFG, bundle(), seed=0), batch_of([1])
    crops = objective.prepare(batch, draw_for(batch, step=0))
    assert torch.equal(crops.wave_BS[0, :PATCH], batch.wave_BS[0])
    assert torch.all(crops.wave_BS[0, PATCH:] == 0)


def test_before_its_first_step_the_discriminator_neither_learns_nor_counts() -> None:
    cfg = CFG.model_copy(update={"adversarial_from_step": 1})
    objective = audiovae.Objective(cfg, bundle(), seed=0)
    movers, batch = engines(objective, lr=1e-3), batch_of([2])
    losses = step_all(objective, movers, batch, step=0, lr=0.0)
    assert not [name for name in losses if name.startswith("adv/")]
    losses = step_all(objective, movers, batch, step=1, lr=0.0)
    assert {"adv/discriminator", "adv/generator", "adv/feature"} <= set(losses)


def test_the_weight_of_the_divergence_ramps_but_not_in_validation() -> None:
    objective, batch = audiovae.Objective(CFG, bundle(), seed=0), batch_of([2])
    prepared = objective.prepare(batch, draw_for(batch, step=0))
    with torch.no_grad():
        at = {s: objective.players["generator"](prepared, draw_for(batch, step=s)) for s in (0, 50, 100, 900, -1)}
    assert float(at[0]["kl/ramped"].total) == 0.0
    assert float(at[50]["kl/ramped"].total) == pytest.approx(0.5 * float(at[50]["kl/flow"].total))
    for step in (100, 900, -1):
        assert float(at[step]["kl/ramped"].total) == pytest.approx(float(at[step]["kl/flow"].total))
    held = CFG.model_copy(update={"kl_ramp_from": 0.2})
    parts = [audiovae.ramp(draw_for(batch, step=step), held) for step in (0, 50, 100, 900, -1)]
    assert parts == pytest.approx([0.2, 0.6, 1.0, 1.0, 1.0])


def test_a_trained_bundle_is_continued_and_a_new_one_initialized() -> None:
    first = audiovae.Objective(CFG, bundle(), seed=0)
    batch = batch_of([3, 2])
    made = first.finish([batch])
    weights = {name: tensor.clone() for name, tensor in made.audiovae.state_dict().items()}
    assert set(made.training) == {"flow", "discriminator"}
    second = audiovae.Objective(CFG, made, seed=99)
    assert all(torch.equal(weights[name], tensor) for name, tensor in second.vae.state_dict().items())
    for part in ("flow", "discriminator"):
        mine, theirs = getattr(second, part).state_dict(), made.training[part]
        assert all(torch.equal(theirs[name], tensor) for name, tensor in mine.items())
    other = CFG.model_copy(update={"flow": audiovae.Flow(hidden=4, layers=2, couplings=2)})
    with pytest.raises(ManifestError, match="the flow of the stage before was made with other settings"):
        audiovae.Objective(other, made, seed=0)


@torch.no_grad()
def test_latent_statistics_are_those_of_samples_of_true_frames() -> None:
    objective = audiovae.Objective(CFG, bundle(), seed=0)
    long, short = batch_of([3]), batch_of([2], first=7)
    padded = replace(long, wave_BS=torch.nn.functional.pad(long.wave_BS, (0, 4 * PATCH)))
    mean_D, var_D = audiovae.latent_statistics(objective.vae, [padded, short])
    drawn = []
    for batch in (padded, short):
        posterior = objective.vae.encode(batch.wave_BS, batch.length_B)
        frames = int(batch.length_B[0]) // 1920
        noise = torch.randn(2000, *posterior.mean_BFD.shape, generator=torch.Generator().manual_seed(0))
        sampled = posterior.mean_BFD + noise * posterior.log_std_BFD.exp()
        drawn.append(sampled[:, 0, :frames].reshape(2000, frames, -1))
    every = torch.cat(drawn, dim=1).reshape(-1, 8)
    torch.testing.assert_close(mean_D, every.mean(0), atol=1e-3, rtol=1e-2)
    torch.testing.assert_close(var_D, every.var(0), atol=1e-3, rtol=1e-2)


def test_speech_is_learned_and_the_latents_carry_it() -> None:
    objective = audiovae.Objective(CFG.model_copy(update={"adversarial_from_step": 30}), bundle(), seed=0)
    movers, batch = engines(objective, lr=2e-3), batch_of([4, 4])
    before = validation(objective, batch)
    for step in range(60):
        losses = step_all(objective, movers, batch, step=step, lr=2e-3)
    after = validation(objective, batch)
    assert after["mel/l1"] < 0.5 * before["mel/l1"]
    assert after["posterior/spread"] > 5
    assert math.isfinite(losses["adv/discriminator"])
    assert after["adv/discriminator"] < before["adv/discriminator"]


@torch.no_grad()
def validation(objective: audiovae.Objective, batch: Batch) -> dict[str, float]:
    """All terms with the same crops and noise every time."""
    draw = draw_for(batch, step=-1)
    prepared = objective.prepare(batch, draw)
    terms = {name: term for player in objective.players.values() for name, term in player(prepared, draw).items()}
    return {name: float(term.total / term.count) for name, term in terms.items() if float(term.count)}


def test_a_backbone_of_other_latents_does_not_stay_in_the_bundle() -> None:
    whole = small_bundle(meanflow={"enabled": True})
    for made in (audiovae.Objective(CFG, whole, seed=0), audiovae_semantic.Objective(SEMANTIC, whole, seed=0)):
        assert "is left out" in made.notes[0]
        assert made.bundle.backbone is None
        assert not made.bundle.config.mean_velocity
    assert whole.backbone is not None


# -- stage 2


def test_without_readers_stage_two_is_stage_one() -> None:
    batch = batch_of([3, 2])
    one = audiovae.Objective(CFG, bundle(), seed=0)
    two = audiovae_semantic.Objective(SEMANTIC, bundle(), seed=0)
    first, second = validation(one, batch), validation(two, batch)
    assert {name: second[name] for name in first} == first
    assert set(second) - set(first) == {"semantic/asr", "semantic/speaker", "semantic/emotion"}
    assert "no folder with WavLM weights" in two.notes[0]


def test_the_readers_learn_and_reach_the_vae_encoder() -> None:
    cheap = SEMANTIC.model_copy(update={"crop_frames": 2, "adversarial_from_step": 1000})
    objective = audiovae_semantic.Objective(cheap, bundle(), seed=0)
    batch = batch_of([2, 1, 2])
    draw = draw_for(batch, step=0)
    player = objective.players["generator"]
    terms = player(objective.prepare(batch, draw), draw)
    assert float(terms["semantic/asr"].count) == len("good day") + len("well") + 2  # bytes, and an end for each
    assert float(terms["semantic/speaker"].count) == len("anna") + len("ben") + 2
    assert float(terms["semantic/emotion"].count) == len("sad") + len("calm") + 2
    terms["semantic/speaker"].total.backward()
    assert all(grads(objective.vae.audio_encoder))
    assert all(grads(objective.supervision.encoder))
    assert not any(grads(objective.vae.decoder))
    objective.players["generator"].zero_grad(set_to_none=True)
    before, movers = validation(objective, batch), engines(objective, lr=3e-3)
    for step in range(25):
        step_all(objective, movers, batch, step=step, lr=3e-3)
    after = validation(objective, batch)
    assert after["semantic/asr"] < 0.6 * before["semantic/asr"]
    assert after["semantic/speaker"] < 0.6 * before["semantic/speaker"]
    assert after["semantic/emotion"] < 0.6 * before["semantic/emotion"]
    assert set(objective.finish([batch]).training) == {"flow", "discriminator", "semantic_encoder"}


def test_utterances_without_labels_add_nothing() -> None:
    objective = audiovae_semantic.Objective(SEMANTIC, bundle(), seed=0)
    bare = replace(batch_of([2]), texts=[""], speakers=[None], emotions=[])
    draw = draw_for(bare, step=0)
    terms = objective.players["generator"](objective.prepare(bare, draw), draw)
    for name in ("semantic/asr", "semantic/speaker", "semantic/emotion"):
        assert float(terms[name].total.detach()) == float(terms[name].count) == 0.0
    terms["semantic/asr"].total.backward()
    assert all(parameter.grad is not None for parameter in objective.supervision.parameters())


def test_the_readers_see_no_padding() -> None:
    objective = audiovae_semantic.Objective(SEMANTIC, bundle(), seed=0)
    batch = batch_of([2])
    padded = replace(batch, wave_BS=torch.nn.functional.pad(batch.wave_BS, (0, 3 * PATCH)))
    found = [validation(objective, one)["semantic/asr"] for one in (batch, padded)]
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_the_language_model_of_full_width_reads_the_encoder_of_the_full_model() -> None:
    model = load_model("dots_tts_2b")
    shallow = {**model.config, "PatchEncoder": {**model.config["PatchEncoder"], "num_layers": 1}}
    head = HeadConfig(**{**audiovae_semantic.Head().model_dump(), "layers": 1})
    config = ModelConfig.from_dicts(shallow, model.llm)
    reader = Supervision(config, words=100, head=head, teacher_width=None)
    (loss_T,) = reader.token_losses(torch.randn(1, 8, 128), [8], [Answer(0, "asr", [1, 2, 3])])
    assert loss_T.shape == (4,)
    with pytest.raises(ValueError, match=r"width \(1536\) must be a multiple of twice the heads \(14\)"):
        audiovae_semantic.Head(width=1536)


def test_a_teacher_pulls_the_latents_towards_itself(tmp_path: Path) -> None:
    from transformers import WavLMConfig, WavLMModel

    torch.manual_seed(0)
    small = WavLMConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=[8] * 7,
        feat_extract_norm="layer",
        conv_bias=True,
        do_stable_layer_norm=True,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )
    WavLMModel(small).save_pretrained(tmp_path)
    cfg = SEMANTIC.model_copy(update={"wavlm": str(tmp_path), "wavlm_layer": 2})
    objective = audiovae_semantic.Objective(cfg, bundle(), seed=0)
    assert objective.notes == ()
    batch = batch_of([3, 2])
    before, movers = validation(objective, batch)["semantic/wavlm"], engines(objective, lr=3e-3)
    assert 0.0 <= before <= 2.0
    for step in range(12):
        step_all(objective, movers, batch, step=step, lr=3e-3)
    assert validation(objective, batch)["semantic/wavlm"] < 0.8 * before
    assert objective.wavlm is not None
    assert not any(parameter.requires_grad for parameter in objective.wavlm.parameters())
    missing = cfg.model_copy(update={"wavlm": str(tmp_path / "nowhere")})
    with pytest.raises(ManifestError, match=r"objective\.wavlm"):
        audiovae_semantic.Objective(missing, bundle(), seed=0)
