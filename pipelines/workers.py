"""Units through a pool of actors: the only file that knows Ray Data, and all that a worker has to load.

Ray is the scheduler, not the carrier: what travels are paths and counts.
"""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.log import hush
from infra.mistakes import os_error_sentence
from infra.workflow.node import Refused
from models.frozen import WeightsError
from pipelines.chain import Chain
from pipelines.ledger import UnitResult, load, result_path
from pipelines.manifest import CorpusManifest, Worker
from pipelines.planned import PLAN, Line, Planned, read_unit
from pipelines.shards import CorpusError
from pipelines.units import Unit

AT_ONCE = 50_000
"""Units that Ray Data is given together: it takes 8 kB of the driver for each, and a millisecond before the first one
begins. After so many, the pool starts anew."""


class UnitWorker:
    """What each actor of Ray Data is: a chain, made once, and its units, one after another."""

    def __init__(self, manifest: CorpusManifest, work: Path) -> None:
        self.work, self.stop = work, ""
        try:
            self.chain = Chain(manifest)
        except WeightsError as error:
            self.stop = str(error)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """A batch of one unit, by its place in the plan -> one small row of status."""
        unit = read_unit(self.work / PLAN, Line(int(batch["start"][0]), int(batch["bytes"][0])))
        earlier = str(batch["earlier"][0])
        status: dict[str, Any] = {"unit": unit.id}
        if not self.stop:
            try:
                result = self.result_of(unit, earlier=Path(earlier) if earlier else None)
                status |= status_of(result or load(result_path(self.work, unit=unit.id, chain=self.chain.fingerprint)))
            except WeightsError as error:
                self.stop = str(error)
            except OSError as error:  # of the disk that results go to: what a recording raises is a row
                self.stop = os_error_sentence(error) or ""
                if not self.stop:
                    raise
        return {"status": [json.dumps({"stop": self.stop} if self.stop else status)]}

    def result_of(self, unit: Unit, *, earlier: Path | None) -> UnitResult | None:
        """See `Chain.run_unit`. What was to be taken over may be gone: its version was set aside, or what failed in it
        is to be tried again."""
        try:
            return self.chain.run_unit(unit, self.work, earlier=earlier)
        except (CorpusError, FileNotFoundError):
            if earlier is None or earlier.exists():
                raise
            return self.chain.run_unit(unit, self.work)


def status_of(result: UnitResult) -> dict[str, Any]:
    """What the one who watches wants to know of a unit."""
    return {
        "seconds": sum(fact.seconds for fact in result.recordings),
        "failed": len({fate.recording for fate in result.fates if fate.status == "failed"}),
        "cpu_seconds": result.cpu_seconds,
        "audio_seconds": result.audio_seconds,
    }


def ray_statuses(
    manifest: CorpusManifest, units: Planned, numbers: Sequence[int], *, work: Path, earlier: Mapping[str, Path]
) -> Iterator[dict[str, Any]]:
    """The units of these numbers, of the plan in `work`, through a pool of actors, as they end. An actor that dies is
    started again, and takes the unit again.

    Raises: Refused where a unit kills more workers than is allowed.
    """
    for start in range(0, len(numbers), AT_ONCE):
        rows = list[dict[str, Any]]()
        for number in numbers[start : start + AT_ONCE]:
            place = units.line(number)._asdict()
            rows.append({**place, "earlier": str(earlier.get(units.name(number), ""))})
        yield from pool_statuses(manifest, rows, work=work)


def pool_statuses(manifest: CorpusManifest, rows: list[dict[str, Any]], *, work: Path) -> Iterator[dict[str, Any]]:
    """One pool, and what it is given."""
    import ray
    from ray.data import ActorPoolStrategy, DataContext
    from ray.util.annotations import RayDeprecationWarning

    size = max(1, min(manifest.workers or room(ray.cluster_resources(), manifest.worker), len(rows)))
    deaths = manifest.errors.max_worker_deaths
    hush("ray.data")
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = False
    context.execution_options.verbose_progress = False
    with DataContext.current(context):
        data = ray.data.from_items(rows, override_num_blocks=len(rows))
        with warnings.catch_warnings():
            # the retries of actors have no other name yet, and are endless when not named
            warnings.simplefilter("ignore", RayDeprecationWarning)
            data = data.map_batches(
                UnitWorker,
                fn_constructor_kwargs={"manifest": manifest, "work": work},
                batch_size=1,
                compute=ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=2),
                **resources(manifest.worker),
                max_restarts=-1,
                max_task_retries=deaths,
            )
        try:
            for row in data.iter_rows():
                yield json.loads(row["status"])
        except ray.exceptions.RayActorError as error:
            if "creation task" in str(error):  # Ray has no other mark of it
                raise Refused(f"a worker could not start: {str(error).strip().splitlines()[-1]}") from None
            raise Refused(
                f"a unit killed more workers than errors.max_worker_deaths = {deaths} allows; "
                f"run again to go on from there ({str(error).splitlines()[0]})"
            ) from None


def resources(worker: Worker) -> dict[str, float]:
    """What Ray is asked for, a worker."""
    asked = {"num_cpus": worker.cpus, "num_gpus": worker.gpus, "memory": (worker.memory_mb or 0) * 2**20}
    return {name: amount for name, amount in asked.items() if amount}


def room(there: Mapping[str, float], worker: Worker) -> int:
    """How many workers the cluster has room for."""
    asked = {"CPU": worker.cpus, "GPU": worker.gpus, "memory": (worker.memory_mb or 0) * 2**20}
    return int(min(there.get(name, 0.0) // amount for name, amount in asked.items() if amount))
