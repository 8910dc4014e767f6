"""From recordings to a corpus: the job of a corpus node, and the only file that knows Ray Data.

    recordings -> units -> [probe, segment, ... one actor, one unit at a time] -> annotations, one sealed file a unit
    annotations -> verdicts -> ledger, funnel -> shards, index, corpus.json -> audit page
Ray is the scheduler, not the carrier: what travels are paths and counts. It is not started when every unit is final.
"""

import json
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.log import clock, hush
from infra.manifest import resolve
from infra.storage import write_json
from infra.workflow.node import Job, Made, Outcome, Refused
from models.frozen import WeightsError
from pipelines.assemble import costs, judged, show, tell_metrics, tell_truth
from pipelines.chain import Chain
from pipelines.funnel import duration, failed_share, funnel, table, top_reasons
from pipelines.ledger import ATTEMPTS, UnitResult, final_units, load, results, write_ledger
from pipelines.manifest import CorpusManifest, semantic
from pipelines.row import Recording
from pipelines.units import Unit, filled_in, plan_units
from pipelines.writer import Packable, finish, plan, write_shard

MANIFEST = CorpusManifest
ROLES: Mapping[str, bool] = {"recordings": True}
CODE = (
    "pipelines/assemble.py", "pipelines/audit.py", "pipelines/build.py", "pipelines/chain.py",
    "pipelines/funnel.py", "pipelines/ledger.py", "pipelines/manifest.py", "pipelines/pictures.py",
    "pipelines/row.py", "pipelines/select.py", "pipelines/shards.py", "pipelines/sheets.py", "pipelines/truth.py",
    "pipelines/units.py", "pipelines/writer.py", "models/frozen", "pipelines/filters", "pipelines/readers",
    "pipelines/transforms",
)  # fmt: skip
identity = semantic
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
    found = list(results(job.work, [unit.id for unit in units], chain=chain.fingerprint))
    rows, items = judged(found, chain, manifest, work=job.work)
    write_ledger(job.out / "ledger.parquet", rows)
    facts = funnel([fact for result in found for fact in result.recordings], rows)
    facts["costs"] = costs(found)
    facts["manifest"] = manifest.model_dump(mode="json")
    write_json(job.out / "funnel.json", facts)
    for line in table(facts).splitlines():
        job.say(line)
    tell_metrics(job, facts)
    tell_truth(job, rows)
    if failed_share(facts) > manifest.errors.max_failed_share:
        raise Refused(over_budget(facts["recordings_failed"], facts["recordings"], manifest, top_reasons(facts)))
    if not items:
        raise Refused(
            f"nothing is left of {facts['recordings']} recordings and {facts['segments']} segments, most often because "
            f"of {top_reasons(facts)}: loosen `keep`, or mend the recordings ({job.out / 'ledger.parquet'} says all)"
        )
    shards = pack(job, plan(items, soft_bytes=round(manifest.shards.soft_mb * 1e6)), parallel=len(items) > 4096)
    digest = finish(job.out, name=manifest.name, shards=shards, facts={"funnel": facts["hours"]})
    show(job, items, found)
    summary = {
        "samples": len(items),
        "hours": round(facts["hours"]["kept"], 6),
        "hours_in": round(facts["hours"]["in"], 6),
        "hours_dropped": round(facts["hours"]["dropped"], 6),
        "hours_failed": round(facts["hours"]["failed"], 6),
        "recordings": facts["recordings"],
        "recordings_failed": facts["recordings_failed"],
        "shards": len(shards),
        "languages": sorted(name for name, part in facts["by_language"].items() if part["kept"]),
        "licenses": sorted({str(item.row["license"]) for item in items}),
        "sources": sorted({str(item.row["source"]) for item in items if item.row["source"]})[:20],
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
    recordings = [filled_in(recording, manifest=manifest) for recording in found]
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
    adopted = adopt(job.work, chain=chain.fingerprint)
    if adopted:
        job.say(f"{adopted} units taken over from an earlier build: the same files, the same chain")
    done = final_units(job.work, chain=chain.fingerprint)
    todo = [unit for unit in units if unit.id not in done]
    total = sum(len(unit.recordings) for unit in units)
    if not todo:
        job.say(f"{total} recordings in {len(units)} units: all annotated before")
        return
    left = sum(len(unit.recordings) for unit in todo)
    before = f", {total - left} annotated before" if total > left else ""
    job.say(f"{left} recordings in {len(todo)} units to annotate{before}")
    shutil.rmtree(job.work / ATTEMPTS, ignore_errors=True)  # a person who stops the job kills workers, too
    job.connect()
    progress = Progress(job.say, todo)
    for status in ray_statuses(manifest, todo, job.work):
        if "stop" in status:
            raise Refused(status["stop"])
        progress.add(load(job.work, unit=status["unit"], chain=chain.fingerprint))
        if progress.failed >= EARLY and progress.failed > manifest.errors.max_failed_share * total:
            raise Refused(over_budget(progress.failed, total, manifest, "the ledger of the units done so far says why"))


def adopt(work: Path, *, chain: str) -> int:
    """Link the units that this chain has finished for an earlier version of the corpus: another policy, same scores.

    In the store, versions of a node lie side by side, each with its `work`; elsewhere there is nothing to find.
    """
    count = 0
    (work / "units").mkdir(parents=True, exist_ok=True)
    for result in sorted(work.parents[1].glob(f"*/work/units/*.{chain}.jsonl")):
        if (work / "units" / result.name).exists():
            continue
        for file in (result.with_suffix(".flac"), result):
            try:
                os.link(file, work / "units" / file.name)
            except FileExistsError:
                continue
            except FileNotFoundError:
                break
            except OSError:
                shutil.copyfile(file, work / "units" / f"{file.name}.tmp")
                (work / "units" / f"{file.name}.tmp").replace(work / "units" / file.name)
        else:
            count += 1
    return count


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
        unit = Unit.from_json(str(batch["unit"][0]))
        if not self.stop:
            try:
                self.chain.run_unit(unit, self.work)
            except WeightsError as error:
                self.stop = str(error)
        return {"status": [json.dumps({"stop": self.stop} if self.stop else {"unit": unit.id})]}


def ray_statuses(manifest: CorpusManifest, units: Sequence[Unit], work: Path) -> Iterator[dict[str, str]]:
    """Units through a pool of actors, as they end. An actor that dies is started again, and takes the unit again.

    Raises: Refused where a unit kills more workers than is allowed.
    """
    import ray
    from ray.data import ActorPoolStrategy, DataContext
    from ray.util.annotations import RayDeprecationWarning

    cpus = int(ray.cluster_resources().get("CPU", 1))
    size = max(1, min(manifest.workers or cpus, len(units)))
    deaths = manifest.errors.max_worker_deaths
    hush("ray.data")
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = False
    context.execution_options.verbose_progress = False
    with DataContext.current(context):
        data = ray.data.from_items([{"unit": unit.to_json()} for unit in units], override_num_blocks=len(units))
        with warnings.catch_warnings():
            # the retries of actors have no other name yet, and are endless when not named
            warnings.simplefilter("ignore", RayDeprecationWarning)
            data = data.map_batches(
                UnitWorker,
                fn_constructor_kwargs={"manifest": manifest, "work": work},
                batch_size=1,
                compute=ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=2),
                num_cpus=1,
                max_restarts=-1,
                max_task_retries=deaths,
            )
        try:
            for row in data.iter_rows():
                yield json.loads(row["status"])
        except ray.exceptions.RayActorError as error:
            raise Refused(
                f"a unit killed more workers than errors.max_worker_deaths = {deaths} allows; "
                f"run again to go on from there ({str(error).splitlines()[0]})"
            ) from None


class Progress:
    """Audio hours done, and when the rest will be: by bytes of the files, since nobody knows their duration yet."""

    EVERY_SECONDS = 5.0

    def __init__(self, say: Callable[[str], None], units: Sequence[Unit]) -> None:
        self.say = say
        self.bytes = {unit.id: unit.bytes for unit in units}
        self.total = sum(self.bytes.values()) or 1
        self.began = self.told = time.monotonic()
        self.seconds = 0.0
        self.done = self.units = self.failed = 0

    def add(self, result: UnitResult) -> None:
        """A unit ended; now and then, say so."""
        self.units += 1
        self.done += self.bytes[result.unit]
        self.seconds += sum(fact.seconds for fact in result.recordings)
        self.failed += len({fate.recording for fate in result.fates if fate.status == "failed"})
        now = time.monotonic()
        last = self.units == len(self.bytes)
        if now - self.told >= self.EVERY_SECONDS or last:
            self.told = now
            spent = now - self.began
            rest = "" if last else f", {clock(spent * (self.total - self.done) / max(self.done, 1))} to go"
            heard = duration(self.seconds / 3600)
            speed = f"{self.seconds / max(spent, 1e-9):.0f} x real time"
            self.say(f"{heard} of audio in {clock(spent)} ({speed}), {self.units} of {len(self.bytes)} units{rest}")


def pack(job: Job, shards: Sequence[Sequence[Packable]], *, parallel: bool) -> list[dict[str, Any]]:
    """Write the shards; by Ray tasks where there is much to copy. The plan decides the bytes, not who writes them."""
    if not parallel or len(shards) == 1:
        return [write_shard(job.out, number, items) for number, items in enumerate(shards)]
    job.connect()
    import ray

    write = ray.remote(num_cpus=1, max_retries=3)(write_shard)
    return list(ray.get([write.remote(job.out, number, list(items)) for number, items in enumerate(shards)]))
