"""Part of training_gpu.py: DeepSpeed ZeRO over nccl with one worker, and a checkpoint that goes on exactly on a GPU."""

import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist
from training_gpu import Report
from training_gpu_backbone import AT, LATE, OPTIMIZER, WEIGHTS, Trained, config_of, micro_of, player_of

from models.backbone.backbone import Backbone
from training import checkpoint as checkpoints
from training.checkpoint import CheckpointWriter
from training.engine import Engine, engine_name, make_engine
from training.manifest import Engine as EngineManifest
from training.update import Micro, update
from training.world import World


def measure(report: Report) -> None:
    """ZeRO-1 of the whole backbone, then exact resume of a medium one, by ZeRO-1 and plainly."""
    report.turn(*LATE, "deepspeed")
    os.environ["NCCL_SOCKET_IFNAME"] = "lo"  # one worker on a machine that may have no other network
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    with tempfile.TemporaryDirectory() as place:
        backend = "nccl" if report.on_gpu else "gloo"
        if report.on_gpu:
            torch.cuda.set_device(0)
        dist.init_process_group(backend, init_method=f"file://{place}/store", rank=0, world_size=1)
        report.attempt("ZeRO-1", lambda: zero(report, 1))
        torch.use_deterministic_algorithms(True, warn_only=True)
        for engine in (
            EngineManifest(name="deepspeed", zero_stage=1, dtype="bfloat16"),
            EngineManifest(name="plain", dtype="bfloat16"),
        ):
            name = f"resume, {engine_name(engine)}"
            report.attempt(name, lambda e=engine, n=name: resume(report, e, n, Path(place) / n))  # type: ignore[misc]
        dist.destroy_process_group()


def stepped(engine: Engine, micros: list[Micro]) -> tuple[dict[str, float], float]:
    """One update by our own code."""
    return update(engine, micros, weights=WEIGHTS, lr=1e-4, world=engine.world, at=AT)  # type: ignore[attr-defined]


def zero(report: Report, stage: int) -> None:
    """One micro-batch of 120 s: beside the plain engine's line of part `eager`."""
    player, world = player_of(report), World(device=report.device)
    manifest = EngineManifest(name="deepspeed", zero_stage=stage, dtype="bfloat16")  # type: ignore[arg-type]
    engine = make_engine(player, manifest=manifest, optimizer=OPTIMIZER, world=world)
    clip = [10.0] * 12 if report.on_gpu else [1.6]
    micro = micro_of(clip, of=player.backbone.config, device=report.device)
    report.peak()
    spent = report.timed(lambda: stepped(engine, [micro]))
    report.say(f"ZeRO-{stage}, 1 x 120 s, dense: {1000 * spent:.1f} ms, {report.peak()}", step_ms=1000 * spent)


def resume(report: Report, manifest: EngineManifest, name: str, folder: Path) -> None:
    """Four updates, a checkpoint after two, and two again from it: losses, norms, weights and moments, bit for bit."""
    of, world = config_of("medium"), World(device=report.device)
    micro = micro_of([3.2, 3.2] if report.on_gpu else [1.6], of=of, device=report.device)

    def made() -> Engine:
        torch.manual_seed(0)
        player = Trained(Backbone(of), hidden_drop=0.1, speaker_drop=0.1).to(report.device).train()
        return make_engine(player, manifest=manifest, optimizer=OPTIMIZER, world=world)

    engine = made()
    told = [stepped(engine, [micro]) for _ in range(2)]
    writer = CheckpointWriter(folder, 2, 0, 1, engine=engine_name(manifest))
    engine.save(writer, name="backbone")
    writer.write()
    told += [stepped(engine, [micro]) for _ in range(2)]
    found = checkpoints.newest(folder)
    assert found is not None
    other = made()
    other.load(found, name="backbone")
    again = [stepped(other, [micro]) for _ in range(2)]
    same = told[2:] == again and equal(engine.player.state_dict(), other.player.state_dict())
    report.say(f"{name}: {'exact' if same else 'NOT exact'}, losses and norms {told[2:]} and {again}", exact=same)


def equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Are all tensors the same?"""
    return all(torch.equal(one[key], other[key]) for key in one)
