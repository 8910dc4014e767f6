"""Stage manifests: every mistake at once, and an identity that knows what decides the weights."""

import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from infra.manifest import ManifestError, digest, load, parse
from infra.workflow.graph import build
from infra.workflow.manifest import WorkflowManifest
from pipelines.manifest import CorpusManifest
from training.declared import least_seconds, zero_limit
from training.manifest import MODELS, StageManifest, identity, load_model
from training.roles import misfits
from training.schedule import lr_at

pytestmark = pytest.mark.usefixtures("toys")

TRAIN = MODELS.parent / "train"
STAGES = (
    "audiovae_stage1",
    "audiovae_stage2",
    "backbone_stage1",
    "backbone_stage2",
    "backbone_stage3",
    "soar",
    "meanflow",
)
GOOD: dict[str, Any] = {
    "stage": "s",
    "model": "tiny",
    "objective": {"name": "toy"},
    "data": {"seconds_per_step": 10},
    "optimizer": {"lr": 0.1},
    "steps": 10,
}


def problems(**changes: Any) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        parse(StageManifest, GOOD | changes, where="m.yaml")
    return caught.value.problems


def test_mistakes_of_form_are_reported_together() -> None:
    found = problems(
        optimizer={"lr": -1, "beta": [0.8, 0.9]},
        objective={"name": "toi"},
        engine={"zero_stage": 4},
        data={"seconds_per_step": 10, "max_clip_second": 3},
    )
    assert len(found) == 5
    told = "\n".join(found)
    for part in (
        "optimizer.lr: Input should be greater than 0",
        "optimizer.beta: no such key; did you mean 'betas'?",
        "objective: no 'toi' in training/objectives/; did you mean 'toy'?",
        "engine.zero_stage",
        "did you mean 'max_clip_seconds'?",
    ):
        assert part in told


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optimizer": {"lr": 0.1, "betas": [1.0, 0.999]}}, "betas.0: Input should be less than 1"),
        ({"optimizer": {"lr": 0.1, "players": {"net": {"betas": [0.9, -1]}}}}, "betas.1"),
        ({"optimizer": {"lr": math.inf}}, "lr: Input should be a finite number"),
        ({"data": {"seconds_per_step": math.inf}}, "seconds_per_step: Input should be a finite number"),
        ({"schedule": {"final_lr": math.inf}}, "final_lr: Input should be a finite number"),
        ({"data": {"seconds_per_step": 9, "mixture": [{"where": {"mos": {"min": 3, "max": 1}}}]}}, "no score lies"),
        ({"data": {"seconds_per_step": 9, "mixture": [{"reads": "captions"}]}}, "'text' or 'caption'"),
        ({"data": {"seconds_per_step": 9, "mixture": [{"reads": "caption"}]}}, "is for a backbone"),
        ({"objective": {"name": "soar", "layouts": {}}}, "not all 0"),
        ({"objective": {"name": "meanflow", "layouts": {"plain": -1}}}, "at least 0"),
        ({"objective": {"name": "backbone", "weights": {}}}, "weights"),
        ({"objective": {"name": "audiovae", "discriminator": {"cqt_hops": [256]}}}, "must be as many"),
    ],
)
def test_numbers_that_cannot_be_trained_with_are_refused_before_anything_starts(
    changes: dict[str, Any], words: str
) -> None:
    assert words in "\n".join(problems(**changes))


def test_rules_between_fields_are_reported_together() -> None:
    (told,) = problems(
        objective={"name": "toy_gan"},
        schedule={"warmup_steps": 10, "shape": "exponential"},
        engine={"zero_stage": 3},
        optimizer={"lr": 0.1, "players": {"discriminater": {"lr": 1}}},
        launcher="in_process",
        model="tinny",
    )
    for part in (
        "schedule.warmup_steps (10) must be below steps (10)",
        "final_lr must be above 0",
        "zero_stage 3 gives wrong gradients with objective 'toy_gan'; use 2 or less",
        "no player 'discriminater'; did you mean 'discriminator'?",
        "in_process needs workers: 1 and engine.name: plain",
        "no 'tinny' in manifests/models",
    ):
        assert part in told


def test_zero_3_is_for_single_players_alone() -> None:
    assert zero_limit("toy") == 3
    assert [zero_limit(name) for name in ("audiovae", "audiovae_semantic", "toy_gan")] == [2, 2, 2]
    assert zero_limit("soar") == zero_limit("meanflow") == 2


def test_identity_knows_what_decides_the_weights() -> None:
    def key(**changes: Any) -> str:
        return digest(identity(parse(StageManifest, GOOD | changes, where="m")))

    same = key()
    for change in (
        {"workers": 4},
        {"engine": {"zero_stage": 2, "accumulation": 3}},
        {"engine": {"name": "plain"}},
        {"save_every": 1, "log_every": 1, "validate_every": 2, "keep_checkpoints": 9},
        {"max_failures": 0},
    ):
        assert key(**change) == same, change
    for change in (
        {"seed": 1},
        {"steps": 11},
        {"model": "dots_tts_2b"},
        {"engine": {"dtype": "bfloat16"}},
        {"engine": {"tf32": True}},
        {"data": {"seconds_per_step": 11}},
        {"optimizer": {"lr": 0.2}},
        {"objective": {"name": "toy", "width": 17}},
    ):
        assert key(**change) != same, change


def test_identity_knows_other_weights_at_a_path_and_not_another_path_to_them(tmp_path: Path) -> None:
    def key(folder: Path) -> str:
        objective = {"name": "audiovae_semantic", "wavlm": str(folder)}
        return digest(identity(parse(StageManifest, GOOD | {"objective": objective}, where="test")))

    one, other = tmp_path / "one", tmp_path / "other"
    absent = key(one)
    one.mkdir()
    (one / "model.safetensors").write_bytes(b"\0" * 3_000_000)
    shutil.copytree(one, other)
    assert absent != key(one) == key(other)
    (other / "model.safetensors").write_bytes(b"\0" * 2_999_999 + b"\1")
    assert key(one) != key(other)


@pytest.mark.parametrize("path", sorted(TRAIN.rglob("*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_manifest_of_the_house_is_valid_and_opens_with_what_to_expect(path: Path) -> None:
    manifest = load(StageManifest, path)
    assert manifest.stage == path.stem
    assert (manifest.model is not None) == (path.stem == "audiovae_stage1")
    head = path.read_text().split("stage:")[0]
    assert "Expect" in head
    assert manifest.workers >= 2
    assert manifest.engine.name == "deepspeed"


def test_all_seven_stages_are_there_full_and_tiny() -> None:
    for folder in (TRAIN, TRAIN / "tiny"):
        assert {path.stem for path in folder.glob("*.yaml")} == set(STAGES)


@pytest.mark.parametrize(
    ("stage", "steps", "hours", "rates"),
    [
        ("audiovae_stage1", 500_000, None, {0: 1e-4, 250_000: 1e-5, 500_000: 1e-6}),
        ("backbone_stage1", 100_000, 0.5, {0: 2e-6, 1000: 2e-4, 100_000: 2e-4}),
        ("backbone_stage2", 700_000, 8, {0: 2e-6, 7000: 2e-4, 700_000: 2e-4}),
        ("backbone_stage3", 100_000, 8, {0: 2e-6, 1000: 2e-4, 50_500: 1.15e-4, 100_000: 3e-5}),
        ("soar", 50_000, 4, {5000: 3e-5, 16_250: 2e-6 + 28e-6 * 0.853553, 27_500: 1.6e-5, 50_000: 2e-6}),
        ("meanflow", 50_000, 8, {5000: 1e-4, 16_250: 2e-6 + 98e-6 * 0.853553, 27_500: 5.1e-5, 50_000: 2e-6}),
    ],
)
def test_full_stages_have_the_steps_batches_and_rates_of_the_paper(
    stage: str, steps: int, hours: float | None, rates: dict[int, float]
) -> None:
    manifest = load(StageManifest, TRAIN / f"{stage}.yaml")
    assert manifest.steps == steps
    assert hours is None or manifest.data.seconds_per_step == hours * 3600
    for step, rate in rates.items():
        found = lr_at(step, schedule=manifest.schedule, lr=manifest.optimizer.lr, steps=steps)
        assert found == pytest.approx(rate, rel=1e-5), step


def test_a_step_of_the_audiovae_has_no_more_crops_however_short_the_clips_are() -> None:
    for stage, crops in (("audiovae_stage1", 32), ("audiovae_stage2", 32), ("backbone_stage1", None)):
        manifest = load(StageManifest, TRAIN / f"{stage}.yaml")
        least = least_seconds(manifest.objective)
        assert (manifest.data.seconds_per_step / least if least else None) == (crops and pytest.approx(crops))


def test_annealing_and_correction_learn_from_the_better_part_of_the_data() -> None:
    for stage in ("backbone_stage3", "soar"):
        manifest = load(StageManifest, TRAIN / f"{stage}.yaml")
        assert [part.tiers for part in manifest.data.mixture] == [("gold", "silver")]


def test_stages_of_the_full_workflow_hear_what_the_paper_says() -> None:
    workflow = load(WorkflowManifest, MODELS.parent / "workflows" / "dots_tts.yaml")
    nodes = build(workflow, root=MODELS.parents[1])
    corpora = {name for name, node in nodes.items() if node.kind == "corpus"}
    stages = {name: node for name, node in nodes.items() if node.kind == "train"}
    assert tuple(stages) == STAGES
    heard = {name: {node.inputs[role] for role in node.inputs if role != "start_from"} for name, node in stages.items()}
    assert heard["backbone_stage1"] == {"emilia"}
    assert heard["backbone_stage2"] == corpora
    assert heard["soar"] == heard["backbone_stage3"] < corpora
    assert {len({part.role for part in node.manifest.data.mixture}) for node in stages.values()} == {1, 7, 13, 14}
    for name, node in stages.items():
        data = node.manifest.data
        assert {part.tiers for part in data.mixture} == {("gold", "silver") if heard[name] == heard["soar"] else None}
        assert data.hours_power == (None if name == "backbone_stage1" else 1)
    captioned = {
        name for name, node in stages.items() for part in node.manifest.data.mixture if part.reads == "caption"
    }
    assert captioned == {"backbone_stage2"}
    parents = [node.inputs.get("start_from") for node in stages.values()]
    assert parents == [None, *STAGES[:-1]]


def test_what_a_stage_is_given_and_what_its_manifest_reads_are_held_together_before_anything_runs() -> None:
    data = {"seconds_per_step": 10, "mixture": [{"tiers": ["gild", "rest"]}, {"role": "data_emila"}]}
    manifest = parse(StageManifest, GOOD | {"model": None, "data": data}, where="m.yaml")
    policy = load(CorpusManifest, MODELS.parent / "corpora" / "read_speech.yaml")
    assert misfits(manifest, {"data": policy, "data_emilia": None}) == [
        "inputs.data_emilia: nothing reads it: data.mixture has no part of that role; add one, like "
        "{role: data_emilia}",
        "data.mixture: the corpus of 'data' has no tier 'gild'; did you mean 'gold'?; there are: gold, silver, bronze",
        "data.mixture: the corpus of 'data' has no tier 'rest'; there are: gold, silver, bronze",
        "data.mixture: no input has the role 'data_emila'; did you mean 'data_emilia'?; there are: data, data_emilia",
        "inputs.start_from: give it a bundle (`stipple train run` takes --from), or set `model` to a name in "
        "manifests/models",
    ]
    assert misfits(parse(StageManifest, GOOD, where="m.yaml"), {"data": None, "start_from": None}) == []


def test_models_are_valid() -> None:
    from models.backbone.config import ModelConfig

    for name in ("tiny", "dots_tts_2b"):
        model = load_model(name)
        config = ModelConfig.from_dicts(model.config, model.llm)
        assert config.patch_samples == 7680
        dilations = config.audiovae.resblock_dilation_sizes
        assert {len(block) for block in dilations} == {3}  # the official package reads three, and cannot do with fewer


def test_fewer_workers_than_asked_for_are_at_most_as_many_and_need_ray() -> None:
    with pytest.raises(ManifestError, match=r"min_workers \(3\) must be at most workers \(2\)"):
        parse(StageManifest, {**GOOD, "workers": 2, "min_workers": 3}, where="test")
    assert parse(StageManifest, {**GOOD, "workers": 2, "min_workers": 1}, where="test").min_workers == 1


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"optimizer": {"lr": 0.1, "weight_decay": math.inf}},
            "optimizer.weight_decay: Input should be a finite number",
        ),
        ({"bar": {"after_steps": 1, "below": {"a/b": math.nan}}}, "bar.below.a/b: Input should be a finite number"),
        ({"objective": {"name": "soar", "guidance": math.inf}}, "guidance: Input should be a finite number"),
        ({"objective": {"name": "soar", "time_mean": math.nan}}, "time_mean: Input should be a finite number"),
        ({"seed": 10**26}, "seed: Input should be less than"),
        ({"engine": {"accumulation": 10**9}}, "engine.accumulation: Input should be less than or equal to 4096"),
    ],
    ids=str,
)
def test_numbers_that_no_stage_can_be_trained_with_are_refused(changes: dict[str, Any], told: str) -> None:
    (found,) = problems(**changes)
    assert told in found


@pytest.mark.parametrize("folder", [TRAIN, TRAIN / "tiny"], ids=["full", "tiny"])
def test_no_stage_is_validated_on_what_one_before_it_has_heard(folder: Path) -> None:
    shares = [load(StageManifest, folder / f"{stage}.yaml").data.held_out for stage in STAGES]
    assert shares == sorted(shares, reverse=True)
