"""Units through a pool of actors: the only file that knows Ray Data, and all that a worker has to load.

Ray is the scheduler, not the carrier: what travels are paths and counts.
"""

import json
import os
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.cluster import room
from infra.log import hush
from infra.mistakes import last_line, os_error_sentence
from infra.storage import out_of_sight
from infra.workflow.node import Refused
from models.frozen import WeightsError
from pipelines.chain import Chain
from pipelines.ledger import UnitResult, load, result_path
from pipelines.manifest import CorpusManifest, Worker
from pipelines.planned import PLAN, Line, Planned, read_unit
from pipelines.reading.containers import Unreadable, parse_uri
from pipelines.shards import CorpusError
from pipelines.units import Unit

AT_ONCE = 50_000
"""Units that Ray Data is given together: it takes 8 kB of the driver for each, and a millisecond before the first one
begins. After so many, the pool starts anew."""


class UnitWorker:
    """What each actor of Ray Data is: a chain, made once, and its units, one after another."""

    host = ""
    """The name of this machine where it is another one than the job's own."""

    def __init__(self, manifest: CorpusManifest, work: Path, home: str | None = None) -> None:
        """`home`: Ray's name of the machine that the job was started on; None takes this one for it."""
        self.work, self.stop = work, ""
        self.host = host_away_from(home)
        try:
            self.chain = Chain(manifest)
        except WeightsError as error:
            self.stop = str(error)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """A batch of one unit, by its place in the plan -> one small row of status."""
        place, earlier = Line(int(batch["start"][0]), int(batch["bytes"][0])), str(batch["earlier"][0])
        status: dict[str, Any] = {}
        if not self.stop:
            try:
                status = self.status(place, earlier=Path(earlier) if earlier else None)
            except WeightsError as error:
                self.stop = str(error)
            except OSError as error:  # of the disk that results go to: what a recording raises is a row
                self.stop = self.sentence(error)
                if not self.stop:
                    raise
        return {"status": [json.dumps({"stop": self.stop} if self.stop else status)]}

    def status(self, place: Line, *, earlier: Path | None) -> dict[str, Any]:
        """Do the unit that lies there, and say what the one who watches wants to know. On another machine than the
        job's own, a unit with a recording that cannot be read is not begun: its file may only be out of sight here."""
        unit = read_unit(self.work / PLAN, place)
        if self.host and earlier is None and (unseen := unreadable(unit)):
            return {"unseen": unseen, "host": self.host, "place": place}
        result = self.result_of(unit, earlier=earlier)
        result = result or load(result_path(self.work, unit=unit.id, chain=self.chain.fingerprint))
        return {"unit": unit.id, **status_of(result)}

    def sentence(self, error: OSError) -> str:
        """What the disk says, for a person, with the name of another machine; empty for errors that are our own."""
        if self.host and (unseen := out_of_sight(self.work)):
            return unseen
        error.filename = error.filename or tempfile.gettempdir()  # what we write is named: this was a library, or a log
        told = os_error_sentence(error)
        return f"{self.host}: {told}" if told and self.host else told or ""

    def result_of(self, unit: Unit, *, earlier: Path | None) -> UnitResult | None:
        """See `Chain.run_unit`. What was to be taken over may be gone: its version was set aside, or what failed in it
        is to be tried again."""
        try:
            return self.chain.run_unit(unit, self.work, earlier=earlier)
        except (CorpusError, FileNotFoundError):
            if earlier is None or earlier.exists():
                raise
            return self.chain.run_unit(unit, self.work)


def host_away_from(home: str | None) -> str:
    """The name of this machine where it is another one than `home`; empty at home."""
    if home is None:
        return ""
    import ray

    return "" if ray.get_runtime_context().get_node_id() == home else os.uname().nodename


def unreadable(unit: Unit) -> str | None:
    """A file of the unit that cannot be read on this machine, if there is any."""
    for uri in dict.fromkeys(recording.uri for recording in unit.recordings if recording.uri):
        try:
            path = parse_uri(uri).path
        except Unreadable:
            continue
        if not os.access(path, os.R_OK):
            return str(path)
    return None


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

    Raises: Refused where a unit kills more workers than is allowed, or a machine does not see a recording.
    """
    import ray

    home = ray.get_runtime_context().get_node_id()
    for start in range(0, len(numbers), AT_ONCE):
        rows = list[dict[str, Any]]()
        for number in numbers[start : start + AT_ONCE]:
            place = units.line(number)._asdict()
            rows.append({**place, "earlier": str(earlier.get(units.name(number), ""))})
        gone = list[dict[str, Any]]()
        for status in pool_statuses(manifest, rows, work=work, home=home):
            if "unseen" not in status:
                yield status
            elif os.access(status["unseen"], os.R_OK):
                raise Refused(
                    f"{status['host']} cannot read {status['unseen']}, which can be read where the job was started: "
                    "recordings must lie where all machines see them"
                )
            else:
                gone.append({**Line(*status["place"])._asdict(), "earlier": ""})
        if gone:
            yield from pool_statuses(manifest, gone, work=work, home=None)


def pool_statuses(
    manifest: CorpusManifest, rows: list[dict[str, Any]], *, work: Path, home: str | None
) -> Iterator[dict[str, Any]]:
    """One pool, and what it is given. Without a `home`, a recording that cannot be read is a row on any machine."""
    import ray
    from ray.data import ActorPoolStrategy, DataContext
    from ray.util.annotations import RayDeprecationWarning

    size = max(1, min(manifest.workers or room_for(manifest.worker), len(rows)))
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
                fn_constructor_kwargs={"manifest": manifest, "work": work, "home": home},
                batch_size=1,
                compute=ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=2),
                **resources(manifest.worker),
                max_restarts=-1,
                max_task_retries=deaths,
            )
        try:
            for row in data.iter_rows():
                yield json.loads(row["status"])
        except ray.exceptions.RuntimeEnvSetupError as error:
            node = re.search(r"\[Node ([^]]+)\]", str(error))
            raise Refused(
                f"the code could not be unpacked on {node[1] if node else 'a machine'} ({last_line(error)}); make room "
                "where its Ray keeps its files (/tmp, or the --temp-dir of `ray start`), and run again"
            ) from None
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


def room_for(worker: Worker) -> int:
    """How many workers the machines of the cluster have room for."""
    return room(CPU=worker.cpus, GPU=worker.gpus, memory=(worker.memory_mb or 0) * 2**20)
