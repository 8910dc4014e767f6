"""Losses on the held-out samples, with the same noise every time; and audible samples."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from training.data.draw import Draw
from training.update import Micro, call, reduced

if TYPE_CHECKING:
    from training.loop import Worker
    from training.objectives import Term

STEP = -1
"""The step whose randomness validation takes, so that two validations differ by the weights alone."""


def losses(worker: "Worker") -> dict[str, float]:
    """Every term of every player over the held-out samples, shared by the workers; empty where nothing is held out."""
    world, manifest = worker.world, worker.manifest
    shares = worker.plan.held_out(groups=world.size)[: manifest.validation_batches * world.size]
    own = [share for number, share in enumerate(shares) if number % world.size == world.rank]
    if len(shares) < world.size:
        return {}
    tables: dict[str, list[dict[str, Term]]] = {player: [] for player in worker.engines}
    for share in own:
        prepared, draw = worker.prepare(worker.batch(share, step=STEP), step=STEP)
        for player, engine in worker.engines.items():
            engine.player.eval()
            tables[player].append(call(engine, Micro(prepared, draw, idle=share.idle)))
            engine.player.train()
    found = {}
    for terms in tables.values():
        table = reduced(terms, world=world)
        found.update({name: total / count for name, (total, count) in table.items() if count > 0})
    return found


def write_samples(worker: "Worker", *, step: int) -> None:
    """Wavs that the objective makes of held-out (or else the first) samples, where it has `samples(batch, draw)`."""
    make = getattr(worker.objective, "samples", None)
    if make is None or worker.world.rank != 0:
        return
    import soundfile

    shares = worker.plan.held_out(groups=1) or worker.plan.share(0, rank=0, world=1, accumulation=1)
    share = type(shares[-1])(shares[-1].picks[-2:])
    batch = worker.batch(share, step=STEP)
    folder = Path(worker.errand.out) / "samples"
    folder.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        for name, wave_S in make(batch, Draw(worker.manifest.seed, STEP, batch.keys)).items():
            path = folder / f"step-{step:08d}-{name}.wav"
            soundfile.write(path, wave_S.detach().float().cpu().reshape(-1).numpy(), 48_000)
