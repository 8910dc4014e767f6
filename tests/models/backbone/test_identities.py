"""Training and speech are the same function: parallel equals step by step, and nothing leaks through the mask."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from models.backbone.backbone import Backbone
from models.backbone.flow import Sampler, Velocity

Make = Callable[..., Backbone]
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5}
PATCHES, K, D = 5, 4, 8


@dataclass(frozen=True)
class Watched(Sampler):
    """A sampler that notes every state and velocity."""

    seen: list[tuple[int, Tensor, Tensor]] = field(default_factory=list)

    def run(self, velocity: Velocity, noise: Tensor, renoise: Tensor | None = None) -> Tensor:
        def noting(state: Tensor, time: Tensor | float, number: int) -> Tensor:
            found = velocity(state, time, number)
            self.seen.append((number, state, found))
            return found

        return super().run(noting, noise, renoise)


def draws(*shape: int, seed: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@torch.no_grad()
def test_history_that_was_reserved_is_never_copied_and_goes_on_beyond(make: Make) -> None:
    backbone = make()
    sampler, hidden_BPH = Sampler("flow", 1), draws(1, 16, 32, seed=1, dtype=torch.float32)
    noises = [draws(1, K, D, seed=number, dtype=torch.float32) for number in range(16)]

    def spoken(reserved: int) -> tuple[list[Tensor], set[int]]:
        head = backbone.start_head(sampler, backbone.speaker(None), patches=reserved)
        made, places = [], set()
        for number, noise in enumerate(noises):
            made.append(backbone.sample_patch(head, hidden_BPH[:, number], noise))
            backbone.append_patches(head, hidden_BPH[:, number], made[-1])
            key = head.past[0].key_BALE
            assert key is not None
            places.add(key.data_ptr())
        return made, places

    grown, places = spoken(0)
    assert len(places) == 2
    for reserved, count in ((16, 1), (3, 2)):
        made, places = spoken(reserved)
        assert len(places) == count
        torch.testing.assert_close(made, grown, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    "sampler",
    [
        Watched("flow", 3, guidance=1.2),
        Watched("flow", 2, method="rk4"),
        Watched("flow", 2, method="midpoint", guidance=0.5),
        Watched("scm", 2),
        Watched("meanflow", 4, tells_duration=True),
    ],
    ids=lambda sampler: f"{sampler.kind}-{sampler.method}-{sampler.guidance}",
)
@torch.no_grad()
def test_parallel_velocity_equals_cached_speech(make: Make, dtype: torch.dtype, sampler: Watched) -> None:
    backbone = make(dtype=dtype, meanflow={"enabled": sampler.tells_duration})
    sampler.seen.clear()
    speaker_BH = backbone.speaker(draws(2, 512, seed=1, dtype=dtype))
    hidden_BPH = draws(2, PATCHES, 32, seed=2, dtype=dtype)
    cache = backbone.start_head(sampler, speaker_BH)
    patches = []
    for number in range(PATCHES):
        noise, renoise = (draws(2, K, D, seed=10 * number + n, dtype=dtype) for n in (3, 4))
        patches.append(backbone.sample_patch(cache, hidden_BPH[:, number], noise, renoise))
        if number == 1:  # sampling twice from one history changes nothing
            sampler_seen = len(sampler.seen)
            again = backbone.sample_patch(cache, hidden_BPH[:, number], noise, renoise)
            torch.testing.assert_close(again, patches[-1])  # sums of another shape may round in another way
            del sampler.seen[sampler_seen:]
        backbone.append_patches(cache, hidden_BPH[:, number], patches[-1])
    clean_BFD = torch.cat(patches, dim=1)
    for evaluation, time in enumerate(sampler.times):
        states = torch.cat([state for number, state, _ in sampler.seen if number == evaluation], dim=1)
        cached = torch.cat([found for number, _, found in sampler.seen if number == evaluation], dim=1)
        time_B = torch.full((2,), time, dtype=dtype)
        if sampler.duration is None:
            parallel = backbone.guided_velocity(
                hidden_BPH, clean_BFD, states, time_B=time_B, speaker_BH=speaker_BH, guidance=sampler.guidance
            )
        else:
            duration_B = torch.full((2,), sampler.duration, dtype=dtype)
            parallel = backbone.velocity(
                hidden_BPH, clean_BFD, states, time_B=time_B, speaker_BH=speaker_BH, duration_B=duration_B
            )
        assert float((parallel - cached).abs().max()) < TOLERANCE[dtype] * float(cached.abs().max())


@torch.no_grad()
def test_a_prompt_appended_at_once_equals_one_appended_patch_by_patch(make: Make) -> None:
    backbone, sampler = make(dtype=torch.float64), Sampler("flow", 2, guidance=1.0)
    hidden_BPH, patch_BFD = draws(1, 4, 32, seed=1, dtype=torch.float64), draws(1, 16, D, seed=2, dtype=torch.float64)
    noise = draws(1, K, D, seed=3, dtype=torch.float64)
    at_once = backbone.start_head(sampler, backbone.speaker(None))
    backbone.append_patches(at_once, hidden_BPH[:, :3], patch_BFD[:, :12])
    one_by_one = backbone.start_head(sampler, backbone.speaker(None))
    for number in range(3):
        backbone.sample_patch(one_by_one, hidden_BPH[:, number], noise)
        backbone.append_patches(one_by_one, hidden_BPH[:, number], patch_BFD[:, 4 * number : 4 * number + 4])
    found = [backbone.sample_patch(cache, hidden_BPH[:, 3], noise) for cache in (at_once, one_by_one)]
    assert torch.allclose(*found, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@torch.no_grad()
def test_parallel_hidden_states_equal_cached_ones(make: Make, dtype: torch.dtype) -> None:
    backbone = make(dtype=dtype)
    text = torch.tensor([[3, 1, 4, 1, 5]])
    latent_BFD = draws(1, PATCHES * K, D, seed=5, dtype=dtype)
    ids_BL = torch.cat([text, torch.zeros(1, PATCHES, dtype=torch.long)], dim=1)
    audio_BL = torch.tensor([[False] * 5 + [True] * PATCHES])
    parallel = backbone.hidden(ids_BL, latent_BFD, audio_BL=audio_BL, valid_BP=torch.ones(1, PATCHES).bool())
    state = backbone.start()
    steps = [backbone.prefill(state, backbone.embed_text(text))[:, -1]]
    steps += [backbone.next_hidden(state, latent_BFD[:, K * n : K * n + K]) for n in range(PATCHES)]
    # transformers' Qwen2 keeps its norms in float32 whatever the precision around them
    assert torch.allclose(
        parallel[:, 4:], torch.stack(steps, dim=1), rtol=1e-4, atol=1e-5 if dtype == torch.float32 else 1e-6
    )


@torch.no_grad()
def test_garbage_in_masked_slots_changes_nothing(make: Make) -> None:
    """Patch n must not see itself, later patches, other noisy copies, or later hidden states."""
    backbone = make(dtype=torch.float64)
    hidden, clean, noisy = (
        draws(1, length, width, seed=seed, dtype=torch.float64)
        for length, width, seed in ((PATCHES, 32, 1), (PATCHES * K, D, 2), (PATCHES * K, D, 3))
    )
    rest = {"time_B": torch.tensor([0.3], dtype=torch.float64), "speaker_BH": backbone.speaker(None)}
    expected = backbone.velocity(hidden, clean, noisy, **rest)
    for number in range(PATCHES):
        own = slice(K * number, K * number + K)
        wild_hidden, wild_clean, wild_noisy = hidden.clone(), clean.clone(), torch.full_like(noisy, 100.0)
        wild_hidden[:, number + 1 :] = -100.0
        wild_clean[:, K * number :] = 100.0
        wild_noisy[:, own] = noisy[:, own]
        found = backbone.velocity(wild_hidden, wild_clean, wild_noisy, **rest)
        assert torch.allclose(found[:, own], expected[:, own], rtol=1e-10, atol=1e-12)
        if number:  # and it does see the patch before it
            wild_clean[:, K * number - 1] += 1.0
            moved = backbone.velocity(wild_hidden, wild_clean, wild_noisy, **rest)
            assert not torch.allclose(moved[:, own], expected[:, own], rtol=1e-3)


@torch.no_grad()
def test_the_embedding_of_a_patch_depends_on_nothing_after_it(make: Make) -> None:
    encoder = make(dtype=torch.float64).patch_encoder
    latent = draws(1, 12, D, seed=1, dtype=torch.float64)
    expected = encoder(latent)
    changed = latent.clone()
    changed[:, 7:] = 50.0  # frame 7 is the last of patch 1, which its embedding does not hear yet
    assert torch.equal(encoder(changed)[:, :2], expected[:, :2])
    changed[:, 6] = 50.0
    assert not torch.equal(encoder(changed)[:, 1], expected[:, 1])


@torch.no_grad()
def test_guidance_zero_costs_one_branch_and_others_combine_two(make: Make) -> None:
    backbone = make(dtype=torch.float64)
    hidden, clean, noisy = (
        draws(1, length, width, seed=seed, dtype=torch.float64)
        for length, width, seed in ((2, 32, 1), (2 * K, D, 2), (2 * K, D, 3))
    )
    time_B, speaker = (
        torch.tensor([0.5], dtype=torch.float64),
        backbone.speaker(draws(1, 512, seed=4, dtype=torch.float64)),
    )
    rows: list[int] = []
    hook = backbone.velocity_field_predictor.register_forward_hook(lambda _, args, out: rows.append(len(out)))

    def said(guidance: float) -> Tensor:
        return backbone.guided_velocity(hidden, clean, noisy, time_B=time_B, speaker_BH=speaker, guidance=guidance)

    conditional = backbone.velocity(hidden, clean, noisy, time_B=time_B, speaker_BH=speaker)
    null = backbone.velocity(hidden * 0, clean, noisy, time_B=time_B, speaker_BH=speaker * 0)
    rows.clear()
    assert torch.equal(said(0.0), conditional)
    assert rows == [1]
    assert torch.allclose(said(-1.0), null, rtol=1e-10)
    assert torch.allclose(said(1.2), null + 2.2 * (conditional - null), rtol=1e-10)
    assert rows == [1, 2, 2]
    hook.remove()
    for guidance, branches in ((0.0, 1), (1.2, 2)):
        rows = backbone.start_head(Sampler("flow", 4, guidance=guidance), speaker).modulation.output[0].shape[0]
        assert rows == 4 * branches


@torch.no_grad()
def test_speaking_leaves_the_weights_as_they_were(make: Make) -> None:
    backbone = make()
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    cache = backbone.start_head(Sampler("flow", 2, guidance=1.2), backbone.speaker(None))
    state = backbone.start()
    hidden = backbone.prefill(state, backbone.embed_text(torch.tensor([[1, 2]])))[:, -1]
    patch = backbone.sample_patch(cache, hidden, torch.randn(1, K, D))
    backbone.append_patches(cache, hidden, patch)
    backbone.next_hidden(state, patch)
    after = backbone.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def gradients(backbone: Backbone, loss: Tensor) -> list[Tensor]:
    named = [value for value in backbone.parameters() if value.requires_grad]
    return [value for value in torch.autograd.grad(loss, named, allow_unused=True) if value is not None]


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_packed_velocities_equal_padded_ones_with_all_gradients(make: Make) -> None:
    backbone, patches_B = make(dtype=torch.float64, meanflow={"enabled": True}), torch.tensor([5, 1, 3])
    hidden, clean, noisy = (
        draws(3, length, width, seed=seed, dtype=torch.float64)
        for length, width, seed in ((PATCHES, 32, 1), (PATCHES * K, D, 2), (PATCHES * K, D, 3))
    )
    conditions = {
        "time_B": torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64),
        "duration_B": torch.tensor([0.2, 0.1, 0.0], dtype=torch.float64),
        "speaker_BH": backbone.speaker(draws(3, 512, seed=4, dtype=torch.float64)).detach(),
    }
    real = torch.arange(PATCHES * K) < (patches_B * K)[:, None]
    padded = backbone.velocity(hidden, clean, noisy, **conditions)
    found = backbone.velocity(hidden, clean, noisy, patches_B=patches_B, **conditions)
    torch.testing.assert_close(found[real], padded[real])
    assert not found[~real].any()
    with torch.no_grad():  # FlexAttention has no gradient on a CPU
        for rows in (None, patches_B):
            flexible = backbone.velocity(hidden, clean, noisy, patches_B=rows, flex=True, **conditions)
            torch.testing.assert_close(flexible[real], padded[real])
    weight = draws(*padded.shape, seed=5, dtype=torch.float64) * real[..., None]
    expected = gradients(backbone, (padded * weight).sum())
    for one, other in zip(gradients(backbone, (found * weight).sum()), expected, strict=True):
        torch.testing.assert_close(one, other)


def test_packed_hidden_states_equal_padded_ones_with_all_gradients(make: Make) -> None:
    backbone, patches_B = make(dtype=torch.float64), torch.tensor([3, 1, 2])
    text = [4, 2, 3]
    ids_BL = torch.randint(0, 20, (3, 7), generator=torch.Generator().manual_seed(1))
    column = torch.arange(7)
    start_B1, length_B = torch.tensor(text)[:, None], torch.tensor(text) + patches_B
    audio_BL = (column >= start_B1) & (column < length_B[:, None])
    valid_BP = torch.arange(3) < patches_B[:, None]
    latent_BFD = draws(3, 3 * K, D, seed=2, dtype=torch.float64)
    conditions = {"audio_BL": audio_BL, "valid_BP": valid_BP}
    padded = backbone.hidden(ids_BL, latent_BFD, **conditions)
    found = backbone.hidden(ids_BL, latent_BFD, length_B=length_B, **conditions)
    real = column < length_B[:, None]
    assert not found[~real].any()
    # transformers' Qwen2 keeps its norms in float32 whatever the precision around them
    torch.testing.assert_close(found[real], padded[real], rtol=1e-5, atol=1e-6)
    weight = draws(*padded.shape, seed=5, dtype=torch.float64) * real[..., None]
    expected = gradients(backbone, (padded * weight).sum())
    for one, other in zip(gradients(backbone, (found * weight).sum()), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
