"""From recordings to a corpus: the job of a corpus node, and the only file that knows Ray Data.

    recordings -> units -> [probe, segment, ... one actor, one unit at a time] -> annotations, one sealed file a unit
    annotations -> verdicts -> ledger, funnel -> shards, index, corpus.json -> audit page
Ray is the scheduler, not the carrier: what travels are paths and counts. It is not started when every unit is final.
"""

import json
import shutil
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.log import clock, hush
from infra.manifest import resolve
from infra.storage import os_error_sentence, sync_folder, write_json
from infra.workflow.node import Job, Made, Outcome, Refused
from models.frozen import WeightsError
from pipelines.assemble import assemble, show, tell_metrics, tell_truth
from pipelines.attempts import ATTEMPTS
from pipelines.chain import Chain
from pipelines.forecast.prediction import hold_against
from pipelines.funnel import costs_table, duration, failed_share, table, top_reasons
from pipelines.ledger import UnitResult, final_units, load, result_path, share
from pipelines.manifest import CorpusManifest, Worker, semantic
from pipelines.packing.writer import Packable, finish, plan, write_shard
from pipelines.policy.tombstones import store_of
from pipelines.recipe import Step
from pipelines.reuse import earlier_results, forecast, note_chain, unseen
from pipelines.row import Recording
from pipelines.sealing import clear_parts
from pipelines.shards import read_card
from pipelines.units import Unit, plan_units, prepared

MANIFEST = CorpusManifest
ROLES: Mapping[str, bool] = {"recordings": True}
CODE = ("pipelines", "models/frozen")
"""A change that decides no result costs a build over stored annotations: no model runs for it."""
identity = semantic
PACKED = "packed"
"""Where shards are written: in the work folder, which the next attempt finds as it was left."""
EARLY = 20
"""Failed recordings before the budget for errors may stop the job in its middle."""


def run(job: Job) -> Outcome:
    """Build the corpus into `job.out`.

    Raises: Refused
    """
    assert isinstance(job.manifest, CorpusManifest)
    manifest = job.manifest
    chain = made_chain(manifest)
    units = units_of(manifest, job.inputs["recordings"])
    annotate(job, manifest, chain, units)
    made = assemble(job, units, chain=chain)
    facts = made.facts
    write_json(job.out / "funnel.json", facts)
    for line in [*table(facts).splitlines(), *costs_table(facts).splitlines()]:
        job.say(line)
    tell_metrics(job, facts)
    tell_truth(job)
    if failed_share(facts) > manifest.errors.max_failed_share:
        raise Refused(over_budget(facts["recordings_failed"], facts["recordings"], manifest, top_reasons(facts)))
    if not made.items:
        raise Refused(
            f"nothing is left of {facts['recordings']} recordings and {facts['segments']} segments, most often because "
            f"of {top_reasons(facts)}: loosen `keep`, or mend the recordings ({job.out / 'ledger.parquet'} says all)"
        )
    members = manifest.shards.members
    planned = plan(made.items, soft_bytes=round(manifest.shards.soft_mb * 1e6), members=members)
    shards = pack(job, planned, members=members, parallel=len(made.items) > 4096)
    digest = finish(job.work / PACKED, name=manifest.name, shards=shards, facts={"funnel": facts["hours"]})
    for name in ("shards", "index", "corpus.json"):
        (job.work / PACKED / name).replace(job.out / name)
    store = store_of(job.out)
    if store is not None:
        ids = [unit.id for unit in units]
        for line in hold_against(job.out, manifest, store=store, chain=chain.fingerprint, units=ids, facts=facts):
            job.say(line)
    show(job, made)
    card = read_card(job.out)
    summary = {
        "samples": len(made.items),
        "hours": round(facts["hours"]["kept"], 6),
        "hours_in": round(facts["hours"]["in"], 6),
        "hours_dropped": round(facts["hours"]["dropped"], 6),
        "hours_failed": round(facts["hours"]["failed"], 6),
        "recordings": facts["recordings"],
        "recordings_failed": facts["recordings_failed"],
        "shards": len(planned),
        "languages": sorted(name for name, part in facts["by_language"].items() if part["kept"]),
        "licenses": card["licenses"],
        "sources": sorted(name for name, part in facts["by_source"].items() if part["kept"])[:20],
    }
    return Outcome(digest=digest, summary=summary)


def made_chain(manifest: CorpusManifest) -> Chain:
    """The chain, on this side: to learn its fingerprint, and early whether weights are missing.

    Raises: Refused
    """
    try:
        return Chain(manifest)
    except WeightsError as error:
        raise Refused(str(error)) from None


def units_of(manifest: CorpusManifest, made: Made) -> list[Unit]:
    """The work, cut.

    Raises: Refused
    """
    read = resolve("pipelines.readers", manifest.reader.name).recordings
    found: Iterable[Recording] = read(manifest.reader.settings, made.out)
    recordings = prepared(found, manifest=manifest)
    if not recordings:
        raise Refused(f"{made.out}: the catalog has no recordings")
    try:
        return plan_units(recordings, limits=manifest.units)
    except ValueError as error:
        raise Refused(f"{made.out}: {error}") from None


def annotate(job: Job, manifest: CorpusManifest, chain: Chain, units: Sequence[Unit]) -> None:
    """Run the units that are not final. Ray starts only if there are any.

    Raises: Refused
    """
    clear_parts(job.work / "units")
    works = [job.work, *others(job.work)]
    done = final_units(job.work, chain=chain.fingerprint)
    earlier = earlier_results(chain.steps, (unit.id for unit in units if unit.id not in done), works)
    adopted = [unit for unit, path in earlier.items() if path.name == f"{unit}.{chain.fingerprint}.jsonl"]
    for unit in adopted:
        adopt(earlier.pop(unit), job.work)
    if adopted:
        job.say(f"{len(adopted)} units taken over from an earlier build: the same files, the same chain")
    note_chain(job.work, chain.steps)
    todo = [unit for unit in units if unit.id not in done.union(adopted)]
    total = sum(len(unit.recordings) for unit in units)
    if not todo:
        job.say(f"{total} recordings in {len(units)} units: all annotated before")
        return
    left = sum(len(unit.recordings) for unit in todo)
    before = f", {total - left} annotated before" if total > left else ""
    job.say(f"{left} recordings in {len(todo)} units to annotate{before}")
    for line in told_of_reuse(chain.steps, todo, earlier, works):
        job.say(line)
    shutil.rmtree(job.work / ATTEMPTS, ignore_errors=True)  # a person who stops the job kills workers, too
    job.connect()
    progress = Progress(job.say, todo)
    for status in ray_statuses(manifest, todo, job.work, earlier):
        if "stop" in status:
            raise Refused(status["stop"])
        progress.add(status)
        if progress.failed >= EARLY and progress.failed > manifest.errors.max_failed_share * total:
            raise Refused(over_budget(progress.failed, total, manifest, "the ledger of the units done so far says why"))
    sync_folder(job.work / "units")


def others(work: Path) -> list[Path]:
    """Work folders of other versions of the corpus: in the store, versions of a node lie side by side."""
    return sorted(folder for folder in work.parents[1].glob("*/work") if folder != work)


def adopt(result: Path, work: Path) -> None:
    """Take over a unit that this very chain has finished for another version of the corpus: another policy, say."""
    for file in (result.with_suffix(".flac"), result):
        share(file, work / "units" / file.name)


def told_of_reuse(
    steps: Mapping[str, Step], todo: Sequence[Unit], earlier: Mapping[str, Path], works: Sequence[Path]
) -> list[str]:
    """What is taken over from an earlier chain, and why the rest has to run, for people; nothing where all is new."""
    known = sum(unit.id in earlier for unit in todo)
    missing = unseen(len(todo) - known, of=len(todo), works=works)
    why = {
        name: reason
        for name, reason in forecast(steps, works, known=known).items()
        if reason not in ("", "new") or known
    }
    kept = [name for name, reason in why.items() if not reason]
    lines = (
        [f"{known} of {len(todo)} units were annotated by another chain; taken over: {', '.join(kept)}"]
        if known
        else []
    )
    lines += [missing] if missing else []
    return [*lines, *(f"  run {name}: {reason}" for name, reason in why.items() if reason)]


def over_budget(failed: int, total: int, manifest: CorpusManifest, why: str) -> str:
    """The sentence for too many failures."""
    allowed = f"{manifest.errors.max_failed_share:.1%}"
    return f"{failed} of {total} recordings failed, more than errors.max_failed_share = {allowed} allows ({why})"


class UnitWorker:
    """What each actor of Ray Data is: a chain, made once, and its units, one after another."""

    def __init__(self, manifest: CorpusManifest, work: Path) -> None:
        self.work, self.stop = work, ""
        try:
            self.chain = Chain(manifest)
        except WeightsError as error:
            self.stop = str(error)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """A batch of one unit, as JSON -> one small row of status."""
        unit, earlier = Unit.from_json(str(batch["unit"][0])), str(batch["earlier"][0])
        status: dict[str, Any] = {"unit": unit.id}
        if not self.stop:
            try:
                result = self.chain.run_unit(unit, self.work, earlier=Path(earlier) if earlier else None)
                status |= told_of(result or load(result_path(self.work, unit=unit.id, chain=self.chain.fingerprint)))
            except WeightsError as error:
                self.stop = str(error)
            except OSError as error:  # of the disk that results go to: what a recording raises is a row
                self.stop = os_error_sentence(error) or ""
                if not self.stop:
                    raise
        return {"status": [json.dumps({"stop": self.stop} if self.stop else status)]}


def told_of(result: UnitResult) -> dict[str, Any]:
    """What the one who watches wants to know of a unit."""
    return {
        "seconds": sum(fact.seconds for fact in result.recordings),
        "failed": len({fate.recording for fate in result.fates if fate.status == "failed"}),
        "cpu_seconds": result.cpu_seconds,
        "audio_seconds": result.audio_seconds,
    }


def ray_statuses(
    manifest: CorpusManifest, units: Sequence[Unit], work: Path, earlier: Mapping[str, Path]
) -> Iterator[dict[str, Any]]:
    """Units through a pool of actors, as they end. An actor that dies is started again, and takes the unit again.

    Raises: Refused where a unit kills more workers than is allowed.
    """
    import ray
    from ray.data import ActorPoolStrategy, DataContext
    from ray.util.annotations import RayDeprecationWarning

    size = max(1, min(manifest.workers or room(ray.cluster_resources(), manifest.worker), len(units)))
    deaths = manifest.errors.max_worker_deaths
    hush("ray.data")
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = False
    context.execution_options.verbose_progress = False
    with DataContext.current(context):
        rows = [{"unit": unit.to_json(), "earlier": str(earlier.get(unit.id, ""))} for unit in units]
        data = ray.data.from_items(rows, override_num_blocks=len(units))
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


class Progress:
    """Audio hours done, and when the rest will be: by bytes of the files, since nobody knows their duration yet."""

    EVERY_SECONDS = 5.0
    ENOUGH = 0.02
    """Share that must be done before what is left can be told from it."""

    def __init__(self, say: Callable[[str], None], units: Sequence[Unit]) -> None:
        self.say = say
        self.bytes = {unit.id: unit.bytes for unit in units}
        self.total = sum(self.bytes.values()) or 1
        self.began = self.told = time.monotonic()
        self.seconds = 0.0
        self.done = self.units = self.failed = 0
        self.cpu_seconds: dict[str, float] = {}

    def add(self, status: Mapping[str, Any]) -> None:
        """A unit ended; now and then, say so."""
        self.units += 1
        self.done += self.bytes[status["unit"]]
        self.seconds += status["seconds"]
        self.failed += status["failed"]
        for name, seconds in status["cpu_seconds"].items():
            self.cpu_seconds[name] = self.cpu_seconds.get(name, 0.0) + seconds
        now = time.monotonic()
        last = self.units == len(self.bytes)
        if now - self.told >= self.EVERY_SECONDS or last:
            self.told = now
            spent = now - self.began
            known = self.done > self.ENOUGH * self.total and not last
            rest = f", {clock(spent * (self.total - self.done) / self.done)} to go" if known else ""
            heard = duration(self.seconds / 3600)
            speed = f"{self.seconds / max(spent, 1e-9):.0f} x real time"
            whole = f" of about {duration(self.seconds * self.total / self.done / 3600)}" if known else ""
            units = f"{self.units} of {len(self.bytes)} units"
            self.say(f"{heard}{whole} of audio in {clock(spent)} ({speed}), {units}{rest}{self.dearest()}")

    def dearest(self) -> str:
        """The three transforms that take most of the processors."""
        total = sum(self.cpu_seconds.values())
        ranked = sorted(self.cpu_seconds.items(), key=lambda item: -item[1])[:3]
        return "; " + ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in ranked) if total > 0 else ""


def pack(
    job: Job, shards: Sequence[Sequence[Packable]], *, members: Sequence[str], parallel: bool
) -> Iterator[dict[str, Any]]:
    """Write the shards, and tell of each in order; by Ray tasks where there is much to copy.

    The plan decides the bytes, not who writes them; no more entries are in memory than are being written.
    """
    if not parallel or len(shards) == 1:
        yield from (
            write_shard(job.work / PACKED, number, items, members=members) for number, items in enumerate(shards)
        )
        return
    job.connect()
    import ray

    write = ray.remote(num_cpus=1, max_retries=3)(write_shard)
    window = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
    begun: deque[Any] = deque()
    for number, items in enumerate(shards):
        begun.append(write.remote(job.work / PACKED, number, list(items), members=members))
        if len(begun) > window:
            yield ray.get(begun.popleft())
    while begun:
        yield ray.get(begun.popleft())
