"""From annotations to a corpus: verdicts found some units at a time, by tasks where there are many; here they come
together in order, as ledger, sums and samples.

What stays in memory of a segment is where it lies (pipelines.unpacked), not what it is.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from infra.workflow.node import Job
from pipelines.chain import Chain
from pipelines.funnel import Funnel, add_up
from pipelines.in_order import in_order, where_many
from pipelines.judging import Elsewhere, nowhere
from pipelines.ledger import ledger_writer
from pipelines.manifest import CorpusManifest
from pipelines.planned import Group, Planned
from pipelines.policy.erasing import erase
from pipelines.policy.new_intervals import NewIntervals
from pipelines.policy.redaction import Redactor
from pipelines.policy.repeated import repeated_keys
from pipelines.policy.tombstones import read_tombstones, store_list, store_of
from pipelines.policy.transcribed import told_elsewhere
from pipelines.policy.withheld import withholding
from pipelines.unpacked import KeptSamples
from pipelines.verdicts import Copies, Piece, Rules, copies_among, keys_of, over_ready, piece_of, repeats_in

MOST_SPREAD = 512

Found = TypeVar("Found")
Each = Callable[[Callable[[Group], Found]], Iterator[Found]]
"""What a function returns of all units, some at a time, in order."""


@dataclass
class Spread:
    """Samples that lie evenly among all that came, in order: some hundreds of them, however many came."""

    found: list[tuple[str, str]] = field(default_factory=list)
    """Unit and key of each."""
    every: int = 1
    count: int = 0

    def add(self, unit: str, key: str) -> None:
        """One more came."""
        if self.count % self.every == 0:
            self.found.append((unit, key))
        self.count += 1
        if len(self.found) > MOST_SPREAD:
            self.found, self.every = self.found[::2], self.every * 2


@dataclass
class Assembly:
    """What the units have given together, so far."""

    manifest: CorpusManifest
    chain: Chain
    funnel: Funnel
    samples: KeptSamples
    """Those that are kept."""
    new_intervals: NewIntervals
    examples: Spread = field(default_factory=Spread)
    """Some of the samples."""
    costs: dict[str, dict[str, float]] = field(default_factory=dict)
    keys_down: set[str] = field(default_factory=set)
    """Segments that were taken down, and the units that hold them."""
    units_down: set[str] = field(default_factory=set)

    def facts(self) -> dict[str, Any]:
        """What stands in funnel.json: hours and why, costs, and the manifest."""
        return {**self.funnel.facts(), "costs": self.costs, "manifest": self.manifest.model_dump(mode="json")}

    def add(self, piece: Piece) -> None:
        """Take up what the next units give; not their ledger."""
        self.samples.add(piece.samples)
        for unit, key in zip(piece.samples["unit"].to_pylist(), piece.samples["key"].to_pylist(), strict=True):
            self.examples.add(unit, key)
        self.funnel.take(piece.funnel)
        for name, cost in piece.costs.items():
            add_up(self.costs.setdefault(name, {}), cost)
        for unit, row in piece.down:
            self.new_intervals.add(row)
            self.keys_down.add(row["key"])
            self.units_down.add(unit)


def assemble(job: Job, units: Planned, *, chain: Chain) -> Assembly:
    """Judge every fate, write the ledger, and sum up, in the order of recordings.

    Of what was taken down, the ledger does not tell what it was, nobody can ask for its sound, and the work folder
    keeps neither.
    """
    assert isinstance(job.manifest, CorpusManifest)
    manifest, store, work = job.manifest, store_of(job.out), job.work
    tombstones = read_tombstones(store_list(store)) if store is not None else []
    rules = Rules(
        work=work,
        manifest=manifest,
        chain=chain.fingerprint,
        fingerprints=chain.fingerprints,
        withheld=withholding(corpus=manifest.name, store=store, allow=manifest.allow),
        redactor=Redactor(tombstones, manifest.name),
    )
    connect = where_many(units.recordings, job.connect)

    def each(call: Callable[[Group], Found]) -> Iterator[Found]:
        return in_order(call, units.groups(), connect=connect)

    rules = replace(rules, elsewhere=transcribed_first(units, rules, each))
    samples = KeptSamples(work, corpus=manifest.name, chain=chain.fingerprint)
    made = Assembly(manifest, chain, rules.funnel(), samples, NewIntervals(tombstones, manifest.name))
    copies = copies_in(rules, each)
    tasks = ((group, {name: copies[name] for name in group.names if name in copies}) for group in units.groups())
    with ledger_writer(job.out / "ledger.parquet") as put:
        for piece in in_order(partial(piece_of, rules=rules), tasks, connect=connect):
            put(piece.ledger)
            made.add(piece)
    if store is not None and (count := made.new_intervals.note(store)):
        job.say(f"{count} tombstones of this corpus name more recordings than before: noted for all of the store")
    if made.keys_down:
        erase(work, rules.redactor.withdrawn, keys=made.keys_down, units=made.units_down)
    return made


def copies_in(rules: Rules, each: Each[Any]) -> Copies:
    """The segments of which an earlier one with the same bytes of sound is in the corpus, or was refused alike."""
    repeated = repeated_keys(each(partial(keys_of, rules=rules)))
    return copies_among(each(partial(repeats_in, rules=rules, repeated=repeated))) if len(repeated.numbers) else {}


def transcribed_first(units: Planned, rules: Rules, each: Each[Any]) -> Elsewhere:
    """What says of a row whether its copy is to be kept in its place: where a recording came with a transcript and
    without, the copy with one."""
    if not 0 < units.with_text < units.recordings:
        return nowhere
    return told_elsewhere(
        lambda call: each(partial(over_ready, rules=rules, call=call)), rules.manifest, withheld=rules.withheld
    )
