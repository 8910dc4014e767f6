"""THE loop: batch, losses, update, log, save. Seven stages, any number of players, one loop.

What a worker remembers between steps are its engines and the number of the step; the samples of a step, its noise and
its learning rate are functions of that number. So resuming needs nothing else, and is exact.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from infra.manifest import resolve
from infra.workflow.node import STOP
from models.runtime.bundle import Bundle
from training import checkpoint as checkpoints
from training import heard
from training.checkpoint import Background, Checkpoint, CheckpointWriter
from training.compiled import compile_blocks
from training.data.batching import Share, plan_of, sources_of
from training.data.collate import RATE_HZ, seconds_of_patches
from training.data.draw import Draw
from training.data.reading import Hears, read_batch
from training.data.replaced import Cards, refuse_replaced
from training.dropout import refuse_dropout
from training.engine import Engine, engine_name, make_engine, precision
from training.errand import Errand
from training.heaviest import try_heaviest
from training.leaks import stop_at_leak
from training.objectives import Batch, Objective, StepReport
from training.recompute import recompute_blocks
from training.schedule import lr_at
from training.speed import Speed
from training.start import starting_bundle
from training.steplog import LOSSES, StepLog
from training.update import Micro, Moment, only, update
from training.world import World

STATISTICS_SECONDS = 1800.0
"""Audio that `Objective.finish` may look at, for the statistics of the latents."""


class Halted(RuntimeError):  # noqa: N818 - reads as what happened
    """The stage was asked to stop, and has saved its state."""


@contextmanager
def timed(spent: dict[str, float], name: str) -> Iterator[None]:
    """Note the seconds of a block as `name`."""
    began = time.monotonic()
    yield
    spent[name] = time.monotonic() - began


@dataclass
class Worker:
    """One worker of a stage, from its first batch to the bundle."""

    errand: Errand
    world: World
    say: Callable[[str], None]

    def __post_init__(self) -> None:
        manifest = self.manifest = self.errand.manifest
        self.work = Path(self.errand.work)
        self.checkpoints = self.work / "checkpoints"
        refuse_replaced(self.errand.folders, digests=self.errand.digests)
        sources = sources_of(manifest, folders=self.errand.folders, memory=self.work / heard.FOUND)
        self.cards = Cards(source.corpus for source in sources)
        self.plan = plan_of(manifest, sources)
        self.background = Background()
        self.objective = self.make_objective()
        self.make_ready()
        if manifest.try_heaviest and self.world.first(not self.checkpoints.exists()):
            try_heaviest(self)
        self.engines = self.make_engines()

    def make_objective(self) -> Objective:
        """What is optimized, with the networks that it begins with."""
        manifest = self.manifest
        module = resolve("training.objectives", manifest.objective.name)
        bundle = starting_bundle(manifest, start_from=self.errand.start_from)
        objective: Objective = module.Objective(manifest.objective.settings, bundle, seed=manifest.seed)
        for note in getattr(objective, "notes", ()):
            self.say(note)
        return objective

    def make_ready(self) -> None:
        """The networks as the manifest's engine has them compute, on the device."""
        manifest = self.manifest
        refuse_dropout(self.objective.players, stage=manifest.stage)
        if manifest.engine.compile:
            compile_blocks(self.networks(), stage=manifest.stage)
        if manifest.engine.activation_checkpointing:
            recompute_blocks(self.objective.players, stage=manifest.stage)
        if manifest.engine.tf32:
            torch.set_float32_matmul_precision("high")
        for network in self.networks():
            network.to(self.world.device)

    def networks(self) -> list[torch.nn.Module]:
        """All that the objective holds: players, and what is frozen beside them."""
        beside = [part for part in vars(self.objective).values() if isinstance(part, torch.nn.Module)]
        return [*self.objective.players.values(), *beside]

    def make_engines(self) -> dict[str, Engine]:
        """An engine a player."""
        return {
            name: make_engine(
                player.to(self.world.device).train(),
                manifest=self.manifest.engine,
                optimizer=self.manifest.optimizer.of(name),
                world=self.world,
            )
            for name, player in self.objective.players.items()
        }

    # -- the loop

    def train(self) -> None:
        """From the newest checkpoint to the last step, and the bundle."""
        first = self.resume()
        if self.world.rank == 0:
            heard.begin(self.work, self.plan.sources, first=first)
        try:
            if self.world.rank == 0:
                every = self.manifest.log_every
                speed = Speed.of(self.work, world=self.world, dtype=self.manifest.engine.dtype)
                path, journal = self.work / LOSSES, self.errand.journal
                with closing(StepLog(path, journal=journal, first=first, every=every, speed=speed)) as log:
                    self.steps(first, log)
            else:
                self.steps(first, None)
        finally:
            self.background.finish()
        self.world.wait()
        with ExitStack() as stack:
            for engine in self.engines.values():
                stack.enter_context(engine.whole())
            if self.world.rank == 0:
                self.write_bundle()

    def steps(self, first: int, log: StepLog | None) -> None:
        """All updates that are left, with what comes due between them.

        Raises: Halted when the stage was asked to stop.
        """
        from training import validate

        manifest, saved = self.manifest, first
        beside: dict[str, float] = {}
        """Seconds since the last step, by what they were spent on."""
        if first == 0:
            with timed(beside, "validating"):
                self.validate(0, log)
        began = time.monotonic()
        for step, micros, waited, audio in self.batches(first):
            report = self.step(step, micros)
            if log is not None:
                spent = time.monotonic() - began
                log.write(report, seconds=spent, waited=waited, audio_seconds=audio, beside=beside)
            done, beside = step + 1, {}
            if manifest.due(manifest.validate_every, done=done):
                with timed(beside, "validating"):
                    self.validate(done, log)
            if manifest.due(manifest.sample_every, done=done) and not self.in_pieces:
                with timed(beside, "sampling"):
                    validate.write_samples(self, step=done)
            halt = done < manifest.steps and self.asked_to_stop()
            with timed(beside, "saving"):
                if manifest.due(manifest.checkpoint_every, done=done) or halt:
                    self.save(done)
                    saved = done
                if done - saved == manifest.write_within:
                    self.background.finish()  # so that a kill never costs more than save_every updates
            if halt:
                raise Halted(f"stopped after step {done}, which is saved")
            began = time.monotonic()

    @property
    def in_pieces(self) -> bool:
        """Does ZeRO-3 hold the weights? Then no worker can use them alone, and nothing is spoken while it trains."""
        return self.manifest.engine.name == "deepspeed" and self.manifest.engine.zero_stage == 3

    def asked_to_stop(self) -> bool:
        """Does any worker see that the stage is to stop? All of them get the same answer."""
        asked = torch.tensor(float((self.work / STOP).exists()), device=self.world.device)
        return float(self.world.sum(asked)) > 0

    def validate(self, step: int, log: StepLog | None) -> None:
        """Losses on the held-out samples after `step` updates."""
        from training import validate

        found = validate.losses(self)
        if log is not None and found is not None:
            log.validation(step, found)

    def step(self, step: int, micros: Sequence[Micro]) -> StepReport:
        """Every player once, in order, on the same samples."""
        manifest = self.manifest
        losses: dict[str, float] = {}
        norms, rates = {}, {}
        for player, engine in self.engines.items():
            settings = manifest.optimizer.of(player)
            rates[player] = lr_at(step, schedule=manifest.schedule, lr=manifest.optimizer.lr, steps=manifest.steps)
            rates[player] *= settings.lr / manifest.optimizer.lr
            at = Moment(stage=manifest.stage, step=step, player=player)
            with only(player, self.engines):
                found, norms[player] = update(
                    engine, micros, weights=self.objective.weights[player], lr=rates[player], world=self.world, at=at
                )
                if manifest.check_gradients_every and (step + 1) % manifest.check_gradients_every == 0:
                    stop_at_leak(self.objective, self.engines, at=at, world=self.world)
            both = sorted(set(losses) & set(found))
            if both:
                raise ValueError(f"two players report {both}; a term's name is its own")
            losses |= found
        return StepReport(step=step + 1, losses=losses, grad_norms=norms, lr=rates)

    # -- data

    def batches(self, first: int) -> Iterator[tuple[int, list[Micro], float, float]]:
        """(step, prepared micro-batches, seconds waited for data, audio seconds of the step); reads one step ahead."""
        accumulation = self.manifest.engine.accumulation
        hears: Hears | None = getattr(self.objective, "hears", None)
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="reader") as reader:

            def read(step: int) -> list[tuple[Batch, bool]]:
                shares = self.plan.share(step, rank=self.world.rank, world=self.world.size, accumulation=accumulation)
                try:
                    return [(self.batch(share, step=step, hears=hears), share.idle) for share in shares]
                finally:
                    self.cards.stop_if_replaced()  # whose sentence says more than that of a shard

            ahead = reader.submit(read, first) if first < self.manifest.steps else None
            for step in range(first, self.manifest.steps):
                began = time.monotonic()
                assert ahead is not None
                batches = ahead.result()
                if step + 1 < self.manifest.steps:
                    ahead = reader.submit(read, step + 1)
                waited = time.monotonic() - began
                micros = [Micro(*self.prepare(batch, step=step), idle=idle) for batch, idle in batches]
                yield step, micros, waited, seconds_of_patches(sum(map(self.plan.lengths, self.plan.step(step))))

    def batch(self, share: Share, *, step: int, hears: Hears | None = None) -> Batch:
        """Read and collate the samples of one micro-batch."""
        longest, seed = self.manifest.data.max_clip_seconds, self.manifest.seed
        return read_batch(self.plan.sources, share.picks, max_clip_seconds=longest, seed=seed, step=step, hears=hears)

    def prepare(self, batch: Batch, *, step: int) -> tuple[Any, Draw]:
        """What the objective makes of a batch, in the engine's precision, and the randomness that goes with it."""
        batch.wave_BS, batch.length_B = batch.wave_BS.to(self.world.device), batch.length_B.to(self.world.device)
        draw = Draw(self.manifest.seed, step, batch.keys)
        with torch.no_grad(), precision(self.manifest.engine, self.world.device):
            return self.objective.prepare(batch, draw), draw

    # -- state

    def save(self, step: int) -> None:
        """A checkpoint after `step` updates, written while training goes on; all workers take part."""
        world, engine = self.world, engine_name(self.manifest.engine)
        writer = CheckpointWriter(self.checkpoints, step, world.rank, world.size, self.errand.still_ours, engine)
        self.errand.still_ours()
        for name, one in self.engines.items():
            one.save(writer, name=name)

        def write() -> None:
            writer.write()
            if world.rank == 0:
                checkpoints.prune(self.checkpoints, keep=self.manifest.keep_checkpoints)

        self.background.start(write)

    def resume(self) -> int:
        """Updates already done: those of the newest whole checkpoint, which is loaded."""
        found = None
        if self.world.rank == 0:
            self.errand.still_ours()
            found = checkpoints.newest(self.checkpoints, say=self.say)
        found = self.world.first(found)
        if found is not None:
            self.take(found)
        if self.world.rank == 0:
            checkpoints.discard_after(self.checkpoints, step=found.step if found else -1)
        self.world.wait()
        return int(found.step) if found else 0

    def take(self, found: Checkpoint) -> None:
        """Load a checkpoint: bit for bit where the same engine wrote it on as many workers."""
        same = (engine_name(self.manifest.engine), self.world.size) == (found.engine, found.world)
        for name, engine in self.engines.items():
            (engine.load if same else engine.adopt)(found, name=name)
        wrote = "" if same else f", which {found.engine} wrote on {found.world} worker{'s' * (found.world > 1)}"
        self.say(f"continuing after step {found.step}{wrote}")

    def write_bundle(self) -> None:
        """What the stage makes, from rank 0's weights."""
        import shutil

        from models.runtime.bundle import save_bundle

        bundle = self.made()
        self.errand.still_ours()
        folder = Path(self.errand.out) / "bundle"
        shutil.rmtree(folder, ignore_errors=True)
        save_bundle(bundle, folder, card={**self.errand.card, "steps": self.manifest.steps})

    def made(self) -> Bundle:
        """The objective's bundle, with the weights as they are now."""
        for engine in self.engines.values():
            engine.player.eval()
        return self.objective.finish(self.statistics_batches())

    def statistics_batches(self) -> Iterator[Batch]:
        """Training audio for statistics: whole steps in plan order, up to STATISTICS_SECONDS and one epoch."""
        seconds = 0.0
        for step in range(self.plan.steps_in_epoch):
            if seconds >= STATISTICS_SECONDS:
                return
            for share in self.plan.share(step, rank=0, world=1, accumulation=1):
                batch = self.batch(share, step=step)
                batch.wave_BS = batch.wave_BS.to(self.world.device)
                seconds += float(batch.length_B.sum()) / RATE_HZ
                yield batch
