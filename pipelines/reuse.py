"""What an earlier chain has found out about a unit, and another one may take over: nothing is computed twice.

Where two chains share the transforms that cut the clips, the second one runs only the transforms whose fingerprint
differs (pipelines.recipe), and takes the values, the rejections and the changed waveforms of all others from the first.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from infra.storage import read_json, write_json
from pipelines.ledger import Fate, RecordingFact, Sound, UnitResult, final_units, result_path
from pipelines.manifest import FIRST
from pipelines.recipe import CUT_BY, TransformSpec, changes, fingerprint_of
from pipelines.row import OWNERS, Segment, Wave, segment_of


@dataclass(frozen=True)
class Known:
    """A segment as an earlier chain left it."""

    fate: Fate
    whole: Segment
    sound: Path

    @cached_property
    def base(self) -> Segment:
        """As it was cut, before any transform measured it."""
        measured = [name for name, owner in OWNERS.items() if owner not in CUT_BY]
        nothing: dict[str, Any] = dict.fromkeys(measured)
        return replace(self.whole, **nothing)

    @property
    def sounds(self) -> tuple[Sound, ...]:
        """Its stored waveforms."""
        return self.fate.sounds

    def facts(self, names: Iterable[str]) -> dict[str, Any]:
        """The values of fields."""
        return {name: getattr(self.whole, name) for name in names}

    def reason_by(self, transform: str) -> str | None:
        """Why the transform rejected it, with its class; None where it did not."""
        rejected = self.fate.status != "ready" and self.fate.transform == transform
        return f"{self.fate.status}:{self.fate.reason}" if rejected else None

    def wave(self, place: Sound) -> Wave:
        """A stored waveform, as it was when it was stored."""
        import soundfile

        with self.sound.open("rb") as file:
            file.seek(place.offset)
            data = file.read(place.flac_bytes)
        samples, _ = soundfile.read(io.BytesIO(data), dtype="int16")
        return np.asarray(samples, dtype=np.float32) / np.float32(32768)


@dataclass
class Earlier:
    """The result of a unit by an earlier chain, as far as another one may take it over."""

    recordings: list[RecordingFact]
    settled: list[Fate]
    """Fates that the transforms that cut clips have decided."""
    groups: list[list[Known]]
    """The segments of each recording, in the order in which they were cut."""
    same: frozenset[str]
    """Transforms that would do the same again."""
    order: Sequence[str]
    """The transforms of the earlier chain."""
    sound: Path
    reached_by: dict[str, dict[str, set[str]]] = field(default_factory=dict)

    def reached(self, transform: str, recording_sha256: str) -> set[str]:
        """Keys of the segments of a recording that came as far as the transform."""
        if transform not in self.reached_by:
            found: dict[str, set[str]] = {}
            at = self.order.index(transform)
            for known in (known for group in self.groups for known in group):
                if known.fate.status == "ready" or self.order.index(known.fate.transform) >= at:
                    found.setdefault(known.whole.recording_sha256, set()).add(known.whole.key)
            self.reached_by[transform] = found
        return self.reached_by[transform].get(recording_sha256, set())


def reusable(result: UnitResult, specs: Mapping[str, TransformSpec], *, sound: Path) -> Earlier | None:
    """What a chain with these specs may take over from the result; None where the clips are not cut the same way."""
    same = {name for name, spec in specs.items() if result.fingerprints.get(name) == spec.fingerprint}
    first = [name for name in FIRST if name in specs]
    if not same.issuperset(first) or [name for name in FIRST if name in result.fingerprints] != first:
        return None
    return Earlier(
        recordings=result.recordings,
        settled=[fate for fate in result.fates if is_settled(fate)],
        groups=groups_of(result, sound=sound),
        same=frozenset(same),
        order=list(result.fingerprints),
        sound=sound,
    )


def is_settled(fate: Fate) -> bool:
    """Was it decided before there was a clip to measure?"""
    return fate.segment is None or (fate.transform in FIRST and fate.status != "ready")


def groups_of(result: UnitResult, *, sound: Path) -> list[list[Known]]:
    """The segments of each recording as they were cut; a file of which the corpus gives intervals is several."""
    by_name: dict[str, list[Known]] = {}
    for fate in result.fates:
        if fate.segment is not None:
            by_name.setdefault(fate.recording, []).append(Known(fate, segment_of(dict(fate.segment)), sound))
    for members in by_name.values():
        members.sort(key=lambda known: known.whole.start_sample)
    groups = []
    for fact in result.recordings:
        members = by_name.get(fact.name, [])
        group, by_name[fact.name] = members[: fact.segments], members[fact.segments :]
        groups.append([known for known in group if not is_settled(known.fate)])
    return groups


@dataclass(frozen=True)
class Past:
    """A chain that has worked before, in this work folder or in that of another version of the corpus."""

    work: Path
    chain: str
    facts: Mapping[str, Any]
    """Transform -> what its spec was (TransformSpec.facts), in order."""

    def same(self, specs: Mapping[str, TransformSpec]) -> int:
        """How many of the specs it has done; 0 where it cut clips another way."""
        done = [name for name, spec in specs.items() if self.facts.get(name, {}).get("fingerprint") == spec.fingerprint]
        first = [name for name in FIRST if name in specs]
        return len(done) if done[: len(first)] == first else 0


def note_chain(work: Path, specs: Mapping[str, TransformSpec]) -> None:
    """Write down what this chain is, beside the results it will have."""
    facts = [[name, spec.facts()] for name, spec in specs.items()]
    write_json(work / "chains" / f"{fingerprint_of(specs)}.json", {"transforms": facts})


def pasts(works: Iterable[Path]) -> list[Past]:
    """All chains that have worked in these folders."""
    found = []
    for work in works:
        for path in sorted((work / "chains").glob("*.json")):
            facts = read_json(path)
            if facts is not None:
                found.append(Past(work, path.stem, dict(facts["transforms"])))
    return found


def earlier_results(specs: Mapping[str, TransformSpec], units: Iterable[str], works: Sequence[Path]) -> dict[str, Path]:
    """Unit -> its result by the chain that has most in common with these specs; without those that have nothing."""
    useful = [past for past in pasts(works) if past.same(specs)]
    useful.sort(key=lambda past: -past.same(specs))
    wanted, found = set(units), dict[str, Path]()
    for past in useful:
        for unit in final_units(past.work, chain=past.chain) & wanted - found.keys():
            found[unit] = result_path(past.work, unit=unit, chain=past.chain)
    return found


def unseen(count: int, *, of: int, works: Iterable[Path]) -> str:
    """Why units have no earlier result that could be taken over, for people; nothing where nothing was built before."""
    if not count or not pasts(works):
        return ""
    return (
        f"{count} of {of} units have no earlier result: their recordings are new or were written anew, clips are cut "
        "another way, other things are said of them (text, language, speaker, ...), or a build was stopped before them"
    )


def reasons_to_run(specs: Mapping[str, TransformSpec], works: Sequence[Path], *, known: int) -> dict[str, str]:
    """Transform -> why it has to run, against the nearest other chain; an empty word where all is taken over.

    `known`: units that have an earlier result. Where none has, and this very chain has worked on others, the units are
    new, and no transform has changed.
    """
    if not known and any(any((work / "units").glob(f"*.{fingerprint_of(specs)}.jsonl")) for work in works):
        return dict.fromkeys(specs, "")
    others = [past for past in pasts(works) if past.chain != fingerprint_of(specs)]
    nearest = max(others, key=lambda past: past.same(specs), default=None)
    facts: Mapping[str, Any] = nearest.facts if nearest is not None else {}
    told = {name: changes(spec, facts.get(name)) for name, spec in specs.items()}
    cut = next((name for name in FIRST if told.get(name)), None)
    if cut is not None and facts:
        told |= {name: why or f"{cut} cuts other clips" for name, why in told.items()}
    return told
