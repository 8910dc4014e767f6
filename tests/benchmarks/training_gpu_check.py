"""Part of training_gpu.py: losses and gradients on the GPU beside those on the CPU, and the tiny stages."""

import copy
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from official_model import MEDIUM, MEDIUM_LLM, ROOT, liven
from torch import Tensor
from training_gpu import Report
from training_gpu_backbone import LATE, Trained, micro_of

from infra.journal import read_from
from infra.manifest import parse
from models.backbone.backbone import Backbone
from models.backbone.config import ModelConfig
from models.runtime.bundle import new_bundle, save_bundle
from training.compiled import compile_blocks
from training.data.draw import Draw
from training.errand import Errand
from training.loop import Worker
from training.manifest import StageManifest, load_model
from training.objectives.audiovae import Config, Crops, SubDiscriminators
from training.objectives.audiovae import Objective as VaeObjective
from training.objectives.backbone import new_backbone
from training.steplog import LOSSES, read_log
from training.update import frozen
from training.world import World

sys.path.insert(0, str(ROOT / "tests" / "training"))  # noqa: TID251 - corpus and short stages of the training tests

from speech import build_corpus  # noqa: E402
from test_stages import STAGES, few_steps  # noqa: E402

LOSS, GRADIENT = 1e-4, 1e-3
"""How far a GPU's float32 may be from the CPU's: losses, and the whole gradient by its norm."""


def exactly() -> None:
    """No TF32."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False


def numbers(report: Report) -> None:
    """The medium backbone and the tiny AudioVAE, on both devices."""
    exactly()
    torch.set_num_threads(4)
    report.attempt("backbone", lambda: backbone(report))
    report.attempt("AudioVAE", lambda: audiovae(report))


def gradient(player: Any, prepared: Any, draw: Draw, *, bfloat16: bool = False) -> tuple[dict[str, float], Tensor]:
    """The losses, and the whole gradient in float64 on the CPU."""
    device = next(player.parameters()).device
    with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
        terms = player(prepared, draw)
    torch.autograd.backward(torch.stack([t.total / t.count for t in terms.values() if t.total.requires_grad]).sum())
    every = [p.grad if p.grad is not None else torch.zeros_like(p) for p in player.parameters() if p.requires_grad]
    flat = torch.cat([grad.detach().double().cpu().reshape(-1) for grad in every])
    player.zero_grad(set_to_none=True)
    return {name: float(t.total.detach() / t.count) for name, t in terms.items() if float(t.count)}, flat


def compared(
    report: Report, name: str, found: tuple[dict[str, float], Tensor], wanted: tuple[dict[str, float], Tensor]
) -> None:
    """A line; in float32 it says whether both are near."""
    losses = max(abs(found[0][key] - value) / max(abs(value), 1e-6) for key, value in wanted[0].items())
    grad = float((found[1] - wanted[1]).norm() / wanted[1].norm())
    right = f", {'right' if losses < LOSS and grad < GRADIENT else 'WRONG'}" if "float32" in name else ""
    report.say(f"{name}: losses {losses:.1e}, gradient {grad:.1e} from the CPU's{right}", losses=losses, gradient=grad)


def backbone(report: Report) -> None:
    """Dense, packed and compiled, in float32 and bfloat16, against the CPU in float32."""
    torch.manual_seed(0)
    of = ModelConfig.from_dicts(MEDIUM, MEDIUM_LLM)
    here = Trained(Backbone(of), hidden_drop=0.3, speaker_drop=0.3).train()
    liven(here.backbone)
    clips = [4.8, 4.0] if report.on_gpu else [1.6, 0.8]
    micro = micro_of(clips, of=of, device=torch.device("cpu"))
    wanted = gradient(here, micro.prepared, micro.draw)
    report.turn(*LATE, "nnAudio.features")
    there = copy.deepcopy(here).to(report.device)
    from training.data.prepared import placed

    prepared = placed(micro.prepared, report.device)
    for kind in ("packed", "compiled") if report.on_gpu else ("dense", "compiled"):
        if kind == "compiled":
            compile_blocks([there], stage="check", backend="inductor" if report.on_gpu else "aot_eager")
        there.packed = kind == "packed"
        for low in (False, True):
            name = f"backbone, {kind}, {'bfloat16' if low else 'float32'}"
            report.attempt(
                name,
                lambda n=name, b=low: compared(  # type: ignore[misc]
                    report, n, gradient(there, prepared, micro.draw, bfloat16=b), wanted
                ),
            )


def audiovae(report: Report) -> None:
    """Both players of the tiny AudioVAE, with the discriminators at full number."""
    tiny = load_model("tiny")
    bundle = new_bundle(ModelConfig.from_dicts(tiny.config, tiny.llm), seed=1)
    small = SubDiscriminators(period_channels=(8, 16), cqt_channels=8)
    objective = VaeObjective(Config(discriminator=small), bundle, seed=0)
    config = bundle.config.audiovae
    frames = 24
    wave_BS = 0.1 * torch.randn(2, frames * config.hop)
    crops = Crops(wave_BS, torch.randn(2, frames, config.latent_dim))
    draw = Draw(0, 60_000, ["a", "b"])
    wanted = {name: alone(objective, name, crops, draw) for name in objective.players}
    for part in (objective.vae, objective.flow, objective.discriminator):
        part.to(report.device)
    moved = Crops(crops.wave_BS.to(report.device), crops.noise_BFD.to(report.device))
    for name in objective.players:
        compared(report, f"AudioVAE, {name}, float32", alone(objective, name, moved, draw), wanted[name])


def alone(objective: VaeObjective, name: str, crops: Crops, draw: Draw) -> tuple[dict[str, float], Tensor]:
    """The gradient of one player while the other is frozen."""
    with frozen(player for other, player in objective.players.items() if other != name):
        return gradient(objective.players[name], crops, draw)


MORE: dict[str, dict[str, Any]] = {
    "": {},
    ", bfloat16, compiled, recomputed": {"dtype": "bfloat16", "compile": True, "activation_checkpointing": True},
}


def stages(report: Report) -> None:
    """Every tiny stage by the loop itself: heaviest batch, validation, two steps, checkpoint, samples, bundle."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        corpus = build_corpus(folder / "mini")
        tiny = load_model("tiny")
        made = new_bundle(ModelConfig.from_dicts(tiny.config, tiny.llm), seed=1)
        width = made.config.latent_dim
        made.latent_mean_D, made.latent_var_D = torch.zeros(width), torch.ones(width)
        made.backbone = new_backbone(made, seed=0)
        save_bundle(made, folder / "untrained", card={})
        report.turn(*LATE, "nnAudio.features")
        for more, engine in MORE.items():
            for stage in sorted(STAGES, key=lambda one: one.startswith("audiovae")):  # those take longest
                if engine and stage not in ("backbone_stage2", "meanflow"):
                    continue
                words = {"corpus": corpus, "untrained": folder / "untrained", "engine": engine}
                at = folder / f"{stage}{len(engine)}"
                report.attempt(
                    f"{stage}{more}",
                    lambda s=stage, m=more, a=at, w=words: run(report, s, m, a, **w),  # type: ignore[misc]
                )


def run(report: Report, stage: str, more: str, folder: Path, *, corpus: Path, untrained: Path, engine: Any) -> None:
    """One stage."""
    folder.mkdir()
    (folder / "attempt").write_text("a")
    asked = few_steps(stage).model_dump(mode="json", exclude_unset=True)
    asked["engine"] |= engine if report.on_gpu else {}
    asked |= {"steps": 2, "try_heaviest": True, "device": "cuda" if report.on_gpu else "cpu"}
    asked["data"]["held_out"] = 0.2
    manifest = parse(StageManifest, asked, where=stage)
    start = None if stage == "audiovae_stage1" else str(untrained)
    words = {"start_from": start, "work": str(folder), "out": str(folder / "out"), "token": "a"}
    errand = Errand(manifest, {"data": str(corpus)}, **words, journal=str(folder / "journal"))
    Worker(errand, World(device=report.device), print).train()
    lines = [line["losses"] for line in read_log(folder / LOSSES) if "losses" in line]
    records, _ = read_from(folder / "journal" / "worker-0.jsonl", 0)
    speed = {key: value for record in records for key, value in record["v"].items() if key.startswith("speed/")}
    term = next(iter(lines[0]))
    report.say(
        f"{stage}{more}: {len(lines)} steps, {term} {lines[0][term]:.4f} then {lines[-1][term]:.4f}; "
        f"{ {key: round(value, 4) for key, value in speed.items()} }",
        losses=lines,
        speed=speed,
    )
