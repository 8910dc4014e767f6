"""SOAR: its identities in float64, what it moves, and how it counts."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models.backbone.flow import interpolate, path_velocity
from models.runtime.bundle import Bundle, BundleError
from tests.small import small_bundle
from training.data.draw import Draw
from training.data.prepared import Prepared
from training.losses.flow import patch_error
from training.objectives import Batch
from training.objectives.soar import (
    Config,
    Heard,
    Noise,
    Objective,
    SoarPlayer,
    auxiliary_states,
    heard_by,
    rolled_out,
    soar_errors,
)

Make = Callable[..., Prepared]
EXACT = {"rtol": 1e-10, "atol": 1e-12}


def numbers(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def some_noise(like: Tensor, *, states: int = 3) -> Noise:
    B = len(like)
    return Noise(
        noise_BFD=numbers(*like.shape, seed=1),
        time_B=torch.sigmoid(numbers(B, seed=2)),
        alpha_BK=torch.rand(B, states, generator=torch.Generator().manual_seed(3), dtype=torch.float64),
        keep_B=torch.ones(B, dtype=torch.bool),
    )


@pytest.fixture
def scene(bundle: Bundle, prepared: Make) -> tuple[SoarPlayer, Heard, Noise]:
    """A small head in float64, what it hears, and draws."""
    assert bundle.backbone is not None
    backbone = bundle.backbone.double()
    heard = heard_by(backbone, prepared(bundle, dtype=torch.float64))
    return SoarPlayer(backbone, Config(states=3, epsilon=0.0, min_remaining=0.0)), heard, some_noise(heard.clean_BFD)


def flow_error(player: SoarPlayer, heard: Heard, noise_BFD: Tensor, time_N: Tensor, *, repeat: int) -> Tensor:
    """The ordinary flow-matching error at given times."""
    clean, noise = heard.clean_BFD.repeat_interleave(repeat, 0), noise_BFD.repeat_interleave(repeat, 0)
    said = player.say(heard, interpolate(noise, clean, time=time_N), time_N, repeat=repeat)
    return patch_error(said, path_velocity(noise, clean), frames=4)


def errors(player: SoarPlayer, heard: Heard, noise: Noise, cfg: Config, rollout: Tensor | None = None):
    return soar_errors(
        lambda state, time, repeat: player.say(heard, state, time, repeat=repeat),
        lambda state, time: player.say(heard, state, time, repeat=1) if rollout is None else rollout,
        heard.clean_BFD,
        noise,
        cfg=cfg,
        frames=4,
    )


def test_without_a_rollout_auxiliary_states_are_flow_matching(scene: tuple[SoarPlayer, Heard, Noise]) -> None:
    player, heard, noise = scene
    still = player.cfg.model_copy(update={"step": 0.0})
    on, off, counts = errors(player, heard, noise, still)
    time_N = ((1 - noise.alpha_BK) * noise.time_B[:, None]).reshape(-1)
    assert torch.allclose(off, flow_error(player, heard, noise.noise_BFD, time_N, repeat=3), **EXACT)
    assert bool(counts.all())
    unmixed = replace(noise, alpha_BK=torch.zeros_like(noise.alpha_BK))
    on, off, _ = errors(player, heard, unmixed, still)
    assert torch.allclose(off, on.repeat_interleave(3, 0), **EXACT)


def test_a_rollout_along_the_true_path_is_flow_matching_too(scene: tuple[SoarPlayer, Heard, Noise]) -> None:
    player, heard, noise = scene
    _, off, _ = errors(player, heard, noise, player.cfg, rollout=path_velocity(noise.noise_BFD, heard.clean_BFD))
    reached_B = (noise.time_B + 0.1).clamp(max=1)
    time_N = ((1 - noise.alpha_BK) * reached_B[:, None]).reshape(-1)
    assert torch.allclose(off, flow_error(player, heard, noise.noise_BFD, time_N, repeat=3), **EXACT)


def test_the_target_leads_to_the_data_from_wherever_the_rollout_ended() -> None:
    clean, noise, rolled = (numbers(2, 4, 3, seed=seed) for seed in (1, 2, 3))
    alpha = torch.tensor([[0.0, 0.5], [0.2, 0.9]], dtype=torch.float64)
    aux = auxiliary_states(
        rolled, noise, clean, reached_B=torch.tensor([0.4, 0.999], dtype=torch.float64), alpha_BK=alpha, epsilon=0.0,
        min_remaining=0.3,
    )  # fmt: skip
    arrived = aux.state_NFD + (1 - aux.time_N)[:, None, None] * aux.target_NFD
    assert torch.allclose(arrived, clean.repeat_interleave(2, 0), **EXACT)
    assert aux.counts_N.tolist() == [True, True, False, True]  # 1 - 0.8 * 0.999 = 0.2 is too near
    bounded = auxiliary_states(
        rolled, noise, clean, reached_B=torch.tensor([0.4, 0.999], dtype=torch.float64), alpha_BK=alpha, epsilon=0.1
    )
    arrived = bounded.state_NFD + (1.1 - bounded.time_N)[:, None, None] * bounded.target_NFD
    assert torch.allclose(arrived, clean.repeat_interleave(2, 0), **EXACT)
    end, reached = rolled_out(noise, clean, time_B=torch.tensor([0.95, 0.5], dtype=torch.float64), step=0.1)
    assert reached.tolist() == pytest.approx([1.0, 0.6])
    assert torch.allclose(end[0], noise[0] + 0.05 * clean[0], **EXACT)


def test_the_loss_is_one_sum_over_one_count(scene: tuple[SoarPlayer, Heard, Noise]) -> None:
    player, heard, noise = scene
    player.cfg = player.cfg.model_copy(update={"weight": 0.5, "min_remaining": 0.4})
    terms = player.terms(heard, noise)
    on, off, counts = errors(
        player, heard, noise, player.cfg, rollout=guided(player, heard, noise)
    )  # patches: 3 and 2, the third of the second utterance is padding
    valid = torch.tensor([[True, True, True], [True, True, False]])
    kept = valid.repeat_interleave(3, 0) & counts[:, None]
    assert 0 < int(kept.sum()) < 15
    expected = float((on[valid].sum() + 0.5 * off[kept].sum()).detach())
    assert float(terms["flow/soar"].total.detach()) == pytest.approx(expected, rel=1e-10)
    assert float(terms["flow/soar"].count) == pytest.approx(5 + 0.5 * int(kept.sum()))
    assert float(terms["flow/on"].count) == 5
    assert not terms["flow/on"].total.requires_grad


def test_conditions_are_dropped_on_the_path_and_never_off_it(scene: tuple[SoarPlayer, Heard, Noise]) -> None:
    player, heard, noise = scene
    whole, dropped = (
        player.terms(heard, replace(noise, keep_B=torch.tensor(keep))) for keep in ([True, True], [False, True])
    )
    silent = replace(heard, hidden_BPH=heard.hidden_BPH * 0, speaker_BH=heard.speaker_BH * 0)
    kept, without = (
        flow_error(player, given, noise.noise_BFD, noise.time_B, repeat=1).detach() for given in (heard, silent)
    )
    expected = float(without[0].sum() + kept[1, :2].sum())  # the third patch of the second utterance is padding
    assert float(dropped["flow/on"].total) == pytest.approx(expected, rel=1e-10)
    assert float(whole["flow/on"].total) != pytest.approx(expected, rel=1e-3)
    assert torch.equal(dropped["flow/auxiliary"].total, whole["flow/auxiliary"].total)


def guided(player: SoarPlayer, heard: Heard, noise: Noise) -> Tensor:
    state = interpolate(noise.noise_BFD, heard.clean_BFD, time=noise.time_B)
    silent = replace(heard, hidden_BPH=heard.hidden_BPH * 0, speaker_BH=heard.speaker_BH * 0)
    kept, null = (player.say(given, state, noise.time_B, repeat=1) for given in (heard, silent))
    return (null + 2.2 * (kept - null)).detach()


def test_no_gradient_flows_through_the_rollout(scene: tuple[SoarPlayer, Heard, Noise]) -> None:
    player, heard, noise = scene
    fixed = guided(player, heard, noise)
    grads = []
    for rollout in (None, fixed):
        player.zero_grad()
        if rollout is None:
            player.terms(heard, noise)["flow/soar"].total.backward()
        else:
            on, off, _ = errors(player, heard, noise, player.cfg, rollout=rollout)
            valid = torch.tensor([[True, True, True], [True, True, False]])
            (on[valid].sum() + off[valid.repeat_interleave(3, 0)].sum()).backward()
        grads.append({name: p.grad.clone() for name, p in player.named_parameters() if p.grad is not None})
    for name in grads[0]:
        assert torch.allclose(grads[0][name], grads[1][name], rtol=1e-8, atol=1e-10), name


def test_only_the_head_moves(bundle: Bundle, batch: Batch, draw: Draw) -> None:
    objective = Objective(Config(states=2), bundle, seed=0)
    assert bundle.backbone is not None
    before = {name: tensor.clone() for name, tensor in bundle.backbone.state_dict().items()}
    player = objective.players["backbone"]
    optimizer = torch.optim.AdamW([p for p in player.parameters() if p.requires_grad], lr=1e-2)
    terms = player(objective.prepare(batch, draw), draw)
    (terms["flow/soar"].total / terms["flow/soar"].count).backward()
    optimizer.step()
    changed = {name for name, tensor in bundle.backbone.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {name for name in before if name.startswith("velocity_field_predictor.")}


def test_flow_times_are_logit_normal_and_mixing_is_uniform(bundle: Bundle) -> None:
    assert bundle.backbone is not None
    cfg = Config()
    time_B, alpha_BK = SoarPlayer(bundle.backbone, cfg).times(Draw(0, 0, [str(number) for number in range(4000)]))
    assert alpha_BK.shape == (4000, cfg.states)
    assert float(alpha_BK.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(alpha_BK.std()) == pytest.approx(math.sqrt(1 / 12), abs=0.01)
    logit = (time_B / (1 - time_B)).log()
    assert float(logit.mean()) == pytest.approx(0, abs=3 / math.sqrt(4000))
    assert float(logit.std()) == pytest.approx(1, abs=0.04)
    near = 1 - (time_B + cfg.step).clamp(max=1)
    assert float((near == 0).float().mean()) == pytest.approx(0.014, abs=0.006)


def test_bundles_that_cannot_be_corrected_are_refused_in_words() -> None:
    with pytest.raises(BundleError, match="SOAR corrects a trained backbone"):
        Objective(Config(), small_bundle(backbone=False), seed=0)
    with pytest.raises(BundleError, match="MeanFlow distilled"):
        Objective(Config(), small_bundle(meanflow={"enabled": True}), seed=0)
    with pytest.raises(BundleError, match=r"this bundle is a student of 2 fixed step\(s\) \(scm\)"):
        Objective(Config(), small_bundle(sampling={"solver": "scm"}), seed=0)
    with pytest.raises(BundleError, match="this bundle has fm_sigma 0.1"):
        Objective(Config(), small_bundle(fm_sigma=0.1), seed=0)
