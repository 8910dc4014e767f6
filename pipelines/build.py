"""From recordings to a corpus: the job of a corpus node.

    recordings -> units -> [probe, segment, ... one actor, one unit at a time] -> annotations, one sealed file a unit
    annotations -> verdicts -> ledger, funnel -> shards, index, corpus.json -> audit page
Ray is started where a unit is not final, and where recordings or samples are so many that tasks find the verdicts and
write the shards (pipelines/in_order.py).
"""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from infra.manifest import resolve
from infra.storage import sync_folder, write_json
from infra.workflow.node import Job, Made, Outcome, Refused
from models.frozen import WeightsError
from pipelines.assemble import assemble
from pipelines.attempts import ATTEMPTS
from pipelines.chain import Chain
from pipelines.forecast.prediction import hold_against
from pipelines.funnel import failed_share, top_reasons
from pipelines.in_order import in_order, where_many
from pipelines.ledger import PACKED, final_units, share
from pipelines.manifest import CorpusManifest, semantic
from pipelines.packing.cutting import Packable, cut
from pipelines.packing.finish import finish
from pipelines.packing.writer import write_shard
from pipelines.planned import PLAN, Planned, planned
from pipelines.policy.tombstones import store_of
from pipelines.progress import Progress, waiting_told
from pipelines.recipe import TransformSpec
from pipelines.reporting import show, summary_of, tell_numbers, tell_truth
from pipelines.reuse import earlier_results, note_chain, reasons_to_run, unseen
from pipelines.row import Recording
from pipelines.sealing import clear_parts
from pipelines.shards import read_card
from pipelines.units import TwoOfOneName, prepared
from pipelines.unpacked import KeptSamples
from pipelines.workers import ray_statuses, room_for

MANIFEST = CorpusManifest
ROLES: Mapping[str, bool] = {"recordings": True}
CODE = ("pipelines", "models/frozen")
"""A change that decides no result costs a build over stored annotations: no model runs for it."""
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
    units = units_of(manifest, job.inputs["recordings"], work=job.work)
    annotate(job, manifest, chain, units)
    made = assemble(job, units, chain=chain)
    facts = made.facts()
    write_json(job.out / "funnel.json", facts)
    tell_numbers(job, facts)
    tell_truth(job)
    refuse_losses(job, manifest, facts)
    digest = pack(job, manifest, made.samples, facts=facts)
    store = store_of(job.out)
    if store is not None:
        known: dict[str, Any] = {"store": store, "chain": chain.fingerprint, "units": units.names()}
        for line in hold_against(job.out, manifest, facts=facts, **known):
            job.say(line)
    show(job, made)
    return Outcome(digest=digest, summary=summary_of(read_card(job.out), facts))


def refuse_losses(job: Job, manifest: CorpusManifest, facts: Mapping[str, Any]) -> None:
    """Raises: Refused where more recordings failed than the manifest allows, or nothing is kept, by the funnel."""
    if failed_share(facts) > manifest.errors.max_failed_share:
        raise Refused(over_budget(facts["recordings_failed"], facts["recordings"], manifest, top_reasons(facts)))
    if not facts["segments_kept"]:
        raise Refused(
            f"nothing is left of {facts['recordings']} recordings and {facts['segments']} segments, most often because "
            f"of {top_reasons(facts)}: loosen `keep`, or mend the recordings ({job.out / 'ledger.parquet'} says all)"
        )


def made_chain(manifest: CorpusManifest) -> Chain:
    """The chain, on this side: to learn its fingerprint, and early whether weights are missing.

    Raises: Refused
    """
    try:
        return Chain(manifest)
    except WeightsError as error:
        raise Refused(str(error)) from None


def units_of(manifest: CorpusManifest, made: Made, *, work: Path) -> Planned:
    """The work, cut, in a file of the folder `work`.

    Raises: Refused
    """
    read = resolve("pipelines.readers", manifest.reader.name).recordings
    found: Iterable[Recording] = read(manifest.reader.settings, made.out)
    try:
        units = planned(prepared(found, manifest=manifest), limits=manifest.units, path=work / PLAN)
    except TwoOfOneName as error:
        raise Refused(f"{made.out}: {error}") from None
    if not len(units):
        raise Refused(f"{made.out}: the catalog has no recordings")
    return units


def annotate(job: Job, manifest: CorpusManifest, chain: Chain, units: Planned) -> None:
    """Run the units that are not final. Ray starts only if there are any.

    Raises: Refused
    """
    clear_parts(job.work / "units")
    works = others(job.work)
    done = final_units(job.work, chain=chain.fingerprint)
    wanted = (name for name in units.names() if name not in done)
    earlier = earlier_results(chain.specs, wanted, [job.work, *works])
    same = [unit for unit, path in earlier.items() if path.name == f"{unit}.{chain.fingerprint}.jsonl"]
    adopted = [unit for unit in same if adopt(earlier.pop(unit), job.work)]
    if adopted:
        job.say(f"{len(adopted)} units taken over from an earlier build: the same files, the same chain")
    note_chain(job.work, chain.specs)
    done |= set(adopted)
    todo = [number for number, name in enumerate(units.names()) if name not in done]
    total = units.recordings
    if not todo:
        job.say(f"{total} recordings in {len(units)} units: all annotated before")
        return
    left = int(units.counts[todo].sum())
    before = f", {total - left} annotated before" if total > left else ""
    job.say(f"{left} recordings in {len(todo)} units to annotate{before}")
    for line in reuse_lines(chain.specs, len(todo), earlier, works):
        job.say(line)
    shutil.rmtree(job.work / ATTEMPTS, ignore_errors=True)  # a person who stops the job kills workers, too
    job.connect()
    progress = Progress(job.say, {units.name(number): int(units.sizes[number]) for number in todo})
    with waiting_told(progress, room=lambda: room_for(manifest.worker)):
        for status in ray_statuses(manifest, units, todo, work=job.work, earlier=earlier):
            if "stop" in status:
                raise Refused(status["stop"])
            progress.add(status)
            if progress.failed >= EARLY and progress.failed > manifest.errors.max_failed_share * total:
                why = "the ledger of the units done so far says why"
                raise Refused(over_budget(progress.failed, total, manifest, why))
    sync_folder(job.work / "units")


def others(work: Path) -> list[Path]:
    """Work folders of other versions of the corpus: in the store, versions of a node lie side by side."""
    return sorted(folder for folder in work.parents[1].glob("*/work") if folder != work)


def adopt(result: Path, work: Path) -> bool:
    """Take over a unit that this very chain has finished for another version of the corpus: another policy, say. False
    where it is gone meanwhile: set aside with that version, or to be tried again."""
    try:
        for file in (result.with_suffix(".flac"), result):
            share(file, work / "units" / file.name)
    except FileNotFoundError:
        return False
    return True


def reuse_lines(
    specs: Mapping[str, TransformSpec], todo: int, earlier: Mapping[str, Path], works: Sequence[Path]
) -> list[str]:
    """What is taken over from an earlier chain, and why the rest of `todo` units has to run, for people; nothing where
    all is new."""
    known = len(earlier)
    missing = unseen(todo - known, of=todo, works=works)
    why = {
        name: reason
        for name, reason in reasons_to_run(specs, works, known=known).items()
        if reason not in ("", "new") or known
    }
    kept = [name for name, reason in why.items() if not reason]
    lines = [f"{known} of {todo} units were annotated by another chain; taken over: {', '.join(kept)}"] if known else []
    lines += [missing] if missing else []
    return [*lines, *(f"  run {name}: {reason}" for name, reason in why.items() if reason)]


def over_budget(failed: int, total: int, manifest: CorpusManifest, why: str) -> str:
    """The sentence for too many failures."""
    allowed = f"{manifest.errors.max_failed_share:.1%}"
    return f"{failed} of {total} recordings failed, more than errors.max_failed_share = {allowed} allows ({why})"


def pack(job: Job, manifest: CorpusManifest, samples: KeptSamples, *, facts: Mapping[str, Any]) -> str:
    """Shards, index and corpus.json, in the work folder until all are there. Returns the digest."""
    root, members = job.work / PACKED, manifest.shards.members
    planned = cut(samples, soft_bytes=round(manifest.shards.soft_mb * 1e6), members=members)
    write = partial(write_numbered, root, members=members)  # the plan decides the bytes, not who writes them
    shards = in_order(write, enumerate(planned), connect=where_many(samples.count, job.connect))
    digest = finish(root, name=manifest.name, shards=shards, facts={"funnel": facts["hours"]})
    for name in ("shards", "index", "corpus.json"):
        (root / name).replace(job.out / name)
    return digest


def write_numbered(root: Path, numbered: tuple[int, Sequence[Packable]], *, members: Sequence[str]) -> dict[str, Any]:
    """See `write_shard`."""
    number, items = numbered
    return write_shard(root, number, items, members=members)
