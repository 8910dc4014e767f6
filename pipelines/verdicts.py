"""Verdicts over some units, as a task finds them: a function of what lies on the disk and of `Rules`, and nothing else.

So they are the same for any number of workers, and found again where a worker dies.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.funnel import Funnel, add_up
from pipelines.hashes import Hash
from pipelines.judging import Elsewhere, Row, Withheld, given_of, judged, nowhere, row_of
from pipelines.ledger import UnitResult, ledger_table, load, result_path
from pipelines.manifest import CorpusManifest
from pipelines.planned import Group
from pipelines.policy.redaction import Redactor
from pipelines.policy.repeated import KEYS, Repeated, keys_in
from pipelines.policy.select import Seen, Verdict
from pipelines.units import rights_of
from pipelines.unpacked import StoredLine, line_of, lines_table

COSTS = ("wall_seconds", "cpu_seconds", "gpu_seconds", "audio_seconds")

Copies = Mapping[str, Mapping[int, str]]
"""Unit -> where a fate begins in its file -> of which earlier copy it is a duplicate."""


@dataclass(frozen=True)
class Rules:
    """What decides, beside what was annotated."""

    work: Path
    manifest: CorpusManifest
    chain: str
    """Fingerprint of the chain, and of each of its transforms in their order."""
    fingerprints: Mapping[str, str]
    withheld: Withheld
    redactor: Redactor
    elsewhere: Elsewhere = nowhere

    def result(self, unit: str, *, only: Callable[[bytes], bool] | None = None) -> UnitResult:
        """What the chain made of a unit."""
        return load(result_path(self.work, unit=unit, chain=self.chain), only=only)

    def funnel(self) -> Funnel:
        """An empty one of this chain."""
        return Funnel([*self.fingerprints, "select"])


@dataclass
class Piece:
    """What some units give to a corpus."""

    ledger: Any
    """Tables of pyarrow: rows of the ledger; and samples that are kept (`lines_table`)."""
    samples: Any
    funnel: Funnel
    costs: dict[str, dict[str, float]]
    down: list[tuple[str, Row]] = field(default_factory=list)
    """Unit and row of each segment of which the ledger does not tell what it was."""


def keys_of(group: Group, *, rules: Rules) -> Hash:
    """The keys of all segments of some units, as numbers."""
    return keys_in(result_path(rules.work, unit=name, chain=rules.chain) for name in group.names)


def over_ready(group: Group, *, rules: Rules, call: Callable[[Sequence[Row]], Any]) -> Any:
    """What `call` returns of the rows of all segments that may be kept."""
    rows = list[Row]()
    for unit in group.units():
        rights, ready = rights_of(unit.recordings), [f for f in rules.result(unit.id).fates if f.status == "ready"]
        rows += [row_of(fate, corpus=rules.manifest.name, rights=rights) for fate in ready]
    return call(rows)


@dataclass(frozen=True)
class Repeat:
    """A segment whose key comes more than once."""

    unit: str
    place: int
    key: str
    verdict: Verdict | None
    """What the policy says of it; None where the same sound is kept with a transcript."""


def repeats_in(group: Group, *, rules: Rules, repeated: Repeated) -> list[Repeat]:
    """Of some units, the segments that may be kept and whose key comes more than once, in order."""
    found = list[Repeat]()
    for unit in group.units():
        path = result_path(rules.work, unit=unit.id, chain=rules.chain)
        again = repeated.among(KEYS.findall(path.read_bytes()))
        if not again:
            continue
        result = rules.result(unit.id, only=partial(has_key, among=again))
        result.fates = [fate for fate in result.fates if fate.status == "ready"]
        rights = rights_of(unit.recordings)
        for fate, row in judged(result, rules.manifest, rights=rights, withheld=rules.withheld):
            if rules.withheld(row) is None:
                verdict = None if rules.elsewhere(row) else Verdict(row["tier"], tuple(row["reasons"]))
                found.append(Repeat(unit.id, fate.place[0], row["key"], verdict))
    return found


def has_key(line: bytes, *, among: set[bytes]) -> bool:
    """Is the segment in a line one of these?"""
    found = KEYS.search(line)
    return found is not None and found[1] in among


def copies_among(repeats: Iterator[list[Repeat]]) -> dict[str, dict[int, str]]:
    """Which of them are duplicates, and of which copy; they come in the order of the corpus."""
    seen, copies = Seen(), dict[str, dict[int, str]]()
    for some in repeats:
        for item in some:
            if why := seen.copy(item.key, item.verdict):
                copies.setdefault(item.unit, {})[item.place] = why
    return copies


def piece_of(task: tuple[Group, Copies], *, rules: Rules) -> Piece:
    """Judge every fate of some units, in the order of recordings."""
    group, copies = task
    written, lines, down = list[Mapping[str, Any]](), list[StoredLine](), list[tuple[str, Row]]()
    funnel, costs = rules.funnel(), dict[str, dict[str, float]]()
    funnel.most_sources = 10**9  # which are told is decided where all come together
    for unit in group.units():
        result = rules.result(unit.id)
        rights, given = rights_of(unit.recordings), given_of(unit)
        told: dict[str, Any] = {"withheld": rules.withheld, "elsewhere": rules.elsewhere}
        judgements = list(judged(result, rules.manifest, rights=rights, copies=copies.get(unit.id), **told))
        gone = rules.redactor.recordings_taken_down(row for _, row in judgements)
        rows = list[Mapping[str, Any]]()
        for fate, row in judgements:
            row |= given[row["recording"]] if row["key"] is None else {}
            row["fingerprint"] = rules.fingerprints.get(row["transform"], rules.chain)
            redacted = rules.redactor.redacted(row, gone=gone)
            written.append(redacted)
            rows.append(row if redacted is row else {**redacted, "recording": row["recording"]})
            if redacted is not row:
                down += [(result.unit, row)] if row["key"] is not None else []
            elif fate.sounds and row["tier"] is not None:
                lines.append(line_of(fate, row, unit=result.unit, rights=rights.get(fate.recording, {})))
        funnel.add(result.recordings, rows)
        add_costs(costs, result)
    return Piece(ledger_table(written), lines_table(lines), funnel, costs, down)


def add_costs(total: dict[str, dict[str, float]], result: UnitResult) -> None:
    """Transform -> seconds of wall, processor and accelerator time, audio heard, and what left it."""
    for name in sorted({*result.wall_seconds, *result.counts}):
        told = {cost: getattr(result, cost).get(name, 0.0) for cost in COSTS}
        add_up(total.setdefault(name, {}), {**told, **result.counts.get(name, {})})
