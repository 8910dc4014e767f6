"""MeanFlow: the released script's targets and gradients, its identities, and what it moves."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from models.backbone.flow import sampler_for
from models.runtime.bundle import Bundle, BundleError, load_bundle, save_bundle
from models.runtime.generate import generate
from models.text.tokens import training_example
from tests.small import small_bundle
from training.data.draw import Draw
from training.data.prepared import Prepared, stacked
from training.objectives import Batch, Term
from training.objectives.meanflow import Config, Noise, Objective, conditions, drawn_intervals, targets, weighted
from training.objectives.soar import Heard, heard_by

Make = Callable[..., Prepared]


@pytest.mark.shared
@pytest.mark.parametrize(
    ("mode", "settings"),
    [
        ("fused", {"teacher_steps": 8}),
        ("midpoint", {"teacher_steps": 2, "teacher_method": "midpoint"}),
        ("natural", {"teacher_steps": 2, "mode": "natural"}),
    ],
)
def test_targets_loss_and_gradients_are_those_of_the_released_script(
    shared: Path, mode: str, settings: dict[str, object], value: Callable[[Term], Tensor]
) -> None:
    bundle = load_bundle(shared / "parity" / "tiny_ckpt")
    step = load_file(shared / "parity" / "fixtures" / "train_step.safetensors")
    recorded = load_file(shared / "parity" / "fixtures" / "meanflow_train.safetensors")
    recorded = {key.removeprefix(f"{mode}."): value for key, value in recorded.items() if key.startswith(f"{mode}.")}
    assert bundle.latent_mean_D is not None
    assert bundle.latent_var_D is not None
    raw = step["prep.latents"].transpose(1, 2)
    latent = raw[..., :16] + recorded["rng.000.randn_like"].transpose(1, 2) * raw[..., 16:].exp()
    texts = ["Hello world, this is a tiny oracle.", bundle.tokenizer.decode([387, 398, 349, 346, 295])]
    patches = step["batch.num_audio_tokens"]
    examples = [
        training_example(bundle.tokenizer, text, patches=int(count)) for text, count in zip(texts, patches, strict=True)
    ]
    clean = (latent - bundle.latent_mean_D) / bundle.latent_var_D.sqrt()
    prepared = Prepared(*stacked(examples), latent, clean, patches, step["prep.xvector"])
    cfg = Config(adaptive="none", **settings)
    objective = Objective(cfg, bundle, seed=0)
    objective.backbone.load_state_dict(load_file(shared / "parity" / "tiny_mf" / "model.safetensors"))
    start_B, duration_B = drawn_intervals(
        recorded["rng.001.randn"], recorded["rng.002.randn"], recorded["rng.003.rand"], cfg=cfg
    )
    assert duration_B.tolist() == pytest.approx([0.0, 0.3754], abs=1e-4)  # an anchor and an interval
    keep = [torch.ones(2, dtype=torch.bool)] * 2
    if mode == "natural":
        keep = [recorded["rng.005.uniform_"] >= 0.2, recorded["rng.006.uniform_"] >= 0.2]
    noise = Noise(recorded["rng.004.randn_like"], start_B, duration_B, *keep)
    lesson = objective.taught(heard_by(objective.backbone, prepared), noise)
    found = lesson.target_BFD.reshape(2, 8, 4, 16)[prepared.valid]
    assert torch.allclose(found, recorded["out.target"], atol=1e-4)
    loss = value(objective.players["backbone"](lesson, Draw(0, 0, []))["meanflow/loss"])
    assert float(loss.detach()) == pytest.approx(float(recorded["loss.fm_loss"]), rel=1e-5)
    loss.backward()
    gradients = {name: p.grad for name, p in objective.backbone.velocity_field_predictor.named_parameters()}
    compared = [name for name in recorded if name.startswith("grad.")]
    assert len(compared) == 8
    for name in compared:
        found = gradients[name.removeprefix("grad.")]
        assert float((found - recorded[name]).abs().max() / recorded[name].abs().max()) < 1e-4, name


def test_at_first_the_student_says_what_the_teacher_says_for_any_interval(bundle: Bundle, prepared: Make) -> None:
    objective = Objective(Config(), bundle, seed=0)
    heard = heard_by(objective.backbone, prepared(bundle))
    arguments = (heard.hidden_BPH, heard.clean_BFD, torch.randn_like(heard.clean_BFD))
    given = {"time_B": torch.tensor([0.2, 0.7]), "speaker_BH": heard.speaker_BH}
    with torch.no_grad():
        teacher = objective.backbone.velocity(*arguments, **given, dit=objective.teacher)
        for duration in (0.0, 0.3, 1.0):
            student = objective.backbone.velocity(*arguments, **given, duration_B=torch.full((2,), duration))
            torch.testing.assert_close(student, teacher, rtol=1e-5, atol=1e-5)  # the teacher's weights are packed
    added = set(objective.backbone.state_dict()) - set(bundle.backbone.state_dict() if bundle.backbone else ())
    assert {name.split(".")[1] for name in added} == {"duration_embedder"}


def test_a_target_of_one_unguided_step_is_the_teachers_velocity(bundle: Bundle, prepared: Make) -> None:
    objective = Objective(Config(teacher_steps=1, guidance=0.0), bundle, seed=0)
    objective.backbone.double()
    objective.teacher.double()
    heard = heard_by(objective.backbone, prepared(bundle, dtype=torch.float64))
    keep = torch.ones(2, dtype=torch.bool)
    start, duration = torch.tensor([0.1, 0.4]).double(), torch.tensor([0.5, 0.3]).double()
    noise = Noise(torch.randn_like(heard.clean_BFD), start, duration, keep, keep)
    lesson = objective.taught(heard, noise)
    with torch.no_grad():
        hidden, speaker = conditions(heard, noise)
        velocity = objective.backbone.velocity(
            hidden, heard.clean_BFD, lesson.noisy_BFD, time_B=start, speaker_BH=speaker, dit=objective.teacher
        )
    assert torch.allclose(lesson.target_BFD, velocity, rtol=1e-10, atol=1e-12)


def test_the_teacher_computes_in_float32_where_the_student_does_not(bundle: Bundle, prepared: Make) -> None:
    objective = Objective(Config(teacher_steps=4), bundle, seed=0)
    objective.teacher.output_layer.linear.weight.data.normal_(std=0.1, generator=torch.Generator().manual_seed(0))
    heard = heard_by(objective.backbone, prepared(bundle))
    keep, start = torch.ones(2, dtype=torch.bool), torch.tensor([0.1, 0.4])
    noise = Noise(torch.randn_like(heard.clean_BFD), start, torch.tensor([0.5, 0.3]), keep, keep)
    exact_BFD = objective.taught(heard, noise).target_BFD
    assert exact_BFD.abs().max() > 0
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(objective.taught(heard, noise).target_BFD, exact_BFD)


@pytest.mark.parametrize("anchor", ["formula", "teacher"])
def test_an_anchor_is_the_velocity_itself(bundle: Bundle, prepared: Make, anchor: str) -> None:
    objective = Objective(Config(anchor_target=anchor, teacher_steps=2), bundle, seed=0)
    heard = heard_by(objective.backbone, prepared(bundle))
    keep = torch.ones(2, dtype=torch.bool)
    start = torch.tensor([0.3, 0.6])
    noise = Noise(torch.randn_like(heard.clean_BFD), start, torch.tensor([0.0, 1e-3]), keep, keep)
    lesson = objective.taught(heard, noise)
    guided = {"time_B": start, "speaker_BH": heard.speaker_BH, "guidance": 1.2, "dit": objective.teacher}
    with torch.no_grad():
        velocity = objective.backbone.guided_velocity(heard.hidden_BPH, heard.clean_BFD, lesson.noisy_BFD, **guided)
    expected = heard.clean_BFD - noise.noise_BFD if anchor == "formula" else velocity
    assert torch.allclose(lesson.target_BFD[0], expected[0], atol=1e-5)
    assert torch.allclose(lesson.target_BFD[1], velocity[1], rtol=0.05, atol=0.02)  # a short interval is nearly one


def test_an_anchor_is_the_velocity_of_the_bundles_own_path() -> None:
    clean, noise_BFD = torch.randn(2, 4, 3), torch.randn(2, 4, 3)
    keep = torch.ones(2, dtype=torch.bool)
    noise = Noise(noise_BFD, torch.full((2,), 0.5), torch.zeros(2), keep, keep)
    found = targets(lambda rows: pytest.fail("not asked"), clean, clean, noise, cfg=Config(), sigma=0.1)
    torch.testing.assert_close(found, clean - 0.9 * noise_BFD)


def test_terms_count_intervals_and_anchors_apart(bundle: Bundle, batch: Batch, draw: Draw) -> None:
    objective = Objective(Config(teacher_steps=1, adaptive="none"), bundle, seed=0)
    lesson = objective.prepare(batch, draw)
    terms = objective.players["backbone"](lesson, draw)
    parts = [terms["meanflow/interval"], terms["meanflow/anchor"]]
    assert float(terms["meanflow/loss"].count) == sum(float(part.count) for part in parts) == 10
    total = sum(float(part.total) for part in parts)
    assert float(terms["meanflow/loss"].total.detach()) == pytest.approx(total, rel=1e-5)


def test_the_adaptive_weight_turns_a_square_into_its_root() -> None:
    error = torch.tensor([[4.0, 9.0]])
    found = {name: weighted(error, cfg=Config(adaptive=name, epsilon=1e-9)) for name in ("none", "sqrt", "full")}
    assert torch.allclose(found["none"], error)
    assert torch.allclose(found["sqrt"], error.sqrt())
    assert torch.allclose(found["full"], torch.ones(1, 2))


def test_half_are_anchors_and_the_grid_takes_the_samplers_intervals() -> None:
    generator = torch.Generator().manual_seed(0)
    one, two = torch.randn(2, 4000, generator=generator)
    anchor, grid = torch.rand(4000, generator=generator), torch.rand(4000, 3, generator=generator)
    _, duration = drawn_intervals(one, two, anchor, cfg=Config())
    assert float((duration == 0).float().mean()) == pytest.approx(0.5, abs=0.03)
    start, duration = drawn_intervals(one, two, anchor, cfg=Config(anchor=0.0, grid=1.0), grid_B3=grid)
    steps = 1 / duration
    assert set(steps.round().int().tolist()) == {1, 2, 3, 4}
    assert torch.allclose((start * steps).round(), start * steps, atol=1e-4)
    assert float((start + duration).max()) <= 1 + 1e-6


def test_an_interval_too_short_to_divide_by_is_an_anchor() -> None:
    one, two = torch.tensor([0.0, 0.0]), torch.tensor([1e-4, 1e-2])
    _, duration_B = drawn_intervals(one, two, torch.ones(2), cfg=Config())
    assert duration_B.tolist() == pytest.approx([0.0, 2.4e-3], abs=1e-4)
    assert float(duration_B[0]) == 0


def test_conditions_are_dropped_one_independent_of_the_other_and_in_natural_mode_alone(
    bundle: Bundle, prepared: Make
) -> None:
    many, rates = 96, {"hidden_drop": 0.5, "speaker_drop": 0.25, "anchor": 1.0}
    heard = heard_by(bundle.backbone, prepared(bundle, patches=(1,) * many)) if bundle.backbone else None
    assert heard is not None
    draw = Draw(seed=3, step=5, keys=[str(number) for number in range(many)])
    natural = Objective(Config(mode="natural", **rates), bundle, seed=0).lesson(heard, draw).noise
    assert float(natural.keep_hidden_B.float().mean()) == pytest.approx(0.5, abs=0.15)
    assert float(natural.keep_speaker_B.float().mean()) == pytest.approx(0.75, abs=0.15)
    only_hidden, only_speaker = (
        natural.keep_hidden_B & ~natural.keep_speaker_B,
        natural.keep_speaker_B & ~natural.keep_hidden_B,
    )
    assert bool(only_hidden.any())
    assert bool(only_speaker.any())
    fused = Objective(Config(mode="fused", **rates), bundle, seed=0).lesson(heard, draw).noise
    assert bool((fused.keep_hidden_B & fused.keep_speaker_B).all())


@pytest.mark.parametrize(("student", "times"), [("one_step", [0.0]), ("two_steps", [0.0, 0.2173])])
def test_a_student_of_fixed_steps_learns_the_teachers_end_from_where_its_sampler_asks(
    bundle: Bundle, batch: Batch, student: Literal["one_step", "two_steps"], times: list[float]
) -> None:
    objective = Objective(Config(student=student, teacher_steps=2, guidance=0.5), bundle, seed=0)
    sampler = sampler_for(objective.bundle.config)
    assert sampler.times == pytest.approx(times, abs=1e-4)
    assert objective.backbone.velocity_field_predictor.duration_embedder is None
    lessons = [objective.prepare(batch, Draw(0, step, batch.keys)) for step in range(6)]
    starts = sorted({round(float(start), 6) for lesson in lessons for start in lesson.noise.start_B})
    assert starts == pytest.approx(sampler.times, abs=1e-6)
    for lesson in lessons[:2]:
        heard, noise = lesson.heard, lesson.noise

        def teacher(state: Tensor, time: Tensor, heard: Heard = heard) -> Tensor:
            asked = {"time_B": time, "speaker_BH": heard.speaker_BH, "guidance": 0.5, "dit": objective.teacher}
            return objective.backbone.guided_velocity(heard.hidden_BPH, heard.clean_BFD, state, **asked)

        half_B = (1 - noise.start_B) / 2
        with torch.no_grad():
            middle = lesson.noisy_BFD + half_B[:, None, None] * teacher(lesson.noisy_BFD, noise.start_B)
            end = middle + half_B[:, None, None] * teacher(middle, noise.start_B + half_B)
        for row, start in enumerate(noise.start_B.tolist()):
            state, target = lesson.noisy_BFD[row], lesson.target_BFD[row]
            if student == "one_step":
                found = sampler.run(lambda *_, target=target: target, state)
            else:
                tau = math.atan2(1 - start, start)
                found = sampler.denoise(lambda *_, target=target: target, state * sampler.scale(tau), tau=tau, number=0)
            assert torch.allclose(found, end[row], atol=1e-4)


def test_a_student_of_one_step_learns_and_makes_a_bundle_that_is_locked_to_it(
    bundle: Bundle, batch: Batch, draw: Draw, tmp_path: Path
) -> None:
    objective = Objective(Config(student="one_step", teacher_steps=2, adaptive="none"), bundle, seed=0)
    player = objective.players["backbone"]
    optimizer = torch.optim.AdamW([p for p in player.parameters() if p.requires_grad], lr=3e-3)
    lesson, losses = objective.prepare(batch, draw), []
    for _ in range(25):
        term = player(lesson, draw)["meanflow/loss"]
        losses.append(float(term.total.detach() / term.count))
        optimizer.zero_grad()
        (term.total / term.count).backward()
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]
    save_bundle(objective.finish([]), tmp_path / "bundle", card={})
    made = load_bundle(tmp_path / "bundle")
    assert made.config.meanflow is None
    assert generate(made, "ma", max_patches=2).patches <= 2
    assert sampler_for(made.config).steps == 1
    with pytest.raises(BundleError, match="fm_sigma 0.1"):
        Objective(Config(student="two_steps"), small_bundle(fm_sigma=0.1), seed=0)


def test_only_the_head_of_the_student_moves(bundle: Bundle, batch: Batch, draw: Draw) -> None:
    objective = Objective(Config(teacher_steps=1), bundle, seed=0)
    teacher = {name: tensor.clone() for name, tensor in objective.teacher.state_dict().items()}
    before = {name: tensor.clone() for name, tensor in objective.backbone.state_dict().items()}
    player = objective.players["backbone"]
    optimizer = torch.optim.AdamW([p for p in player.parameters() if p.requires_grad], lr=1e-2)
    terms = player(objective.prepare(batch, draw), draw)
    terms["meanflow/loss"].total.backward()
    optimizer.step()
    after = objective.backbone.state_dict()
    changed = {name for name in before if not torch.equal(after[name], before[name])}
    head = {name for name in before if name.startswith("velocity_field_predictor.")}
    # behind a last layer of zeros the embedder's first layer has no gradient yet, and a bias of zero cannot even decay
    assert head - changed == {"velocity_field_predictor.duration_embedder.mlp.0.bias"}
    assert changed < head
    assert all(torch.equal(tensor, teacher[name]) for name, tensor in objective.teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in objective.teacher.parameters())


def test_the_bundle_that_comes_out_is_a_meanflow_model(bundle: Bundle) -> None:
    made = Objective(Config(), bundle, seed=0).finish([])
    assert made.config.mean_velocity
    assert made.config.to_dicts()[0]["meanflow"] == {"enabled": True, "use_duration_embedding": True}
    assert bundle.config.meanflow is None
    with pytest.raises(BundleError, match="MeanFlow distilled this bundle: give the one that it was made from"):
        Objective(Config(), replace(bundle, config=made.config), seed=0)
    with pytest.raises(BundleError, match="has none: give that of soar"):
        Objective(Config(), small_bundle(backbone=False), seed=0)
