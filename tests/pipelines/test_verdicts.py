"""Verdicts are found some units at a time: the same, however many at a time, whoever finds them, whoever is killed."""

import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.cluster import Cluster, ClusterManifest
from infra.journal import About, JournalRun, new_id
from infra.manifest import parse
from infra.workflow.node import Job
from pipelines import in_order as tasks
from pipelines import planned as plans
from pipelines.assemble import assemble
from pipelines.chain import Chain
from pipelines.in_order import in_order
from pipelines.ledger import Fate, RecordingFact, Sound, UnitResult, read_ledger, save, sound_path
from pipelines.manifest import CorpusManifest
from pipelines.planned import Planned, planned
from pipelines.policy.select import Seen
from pipelines.row import Recording, Segment, as_row, segment_key
from pipelines.sealing import SoundFile
from pipelines.shards import CorpusError
from tests.pipelines.corpora import verdicts

MANIFEST: dict[str, Any] = {
    "name": "toy", "reader": {"name": "jsonl"}, "transforms": ["probe", "segment", "loudness"],
    "keep": [{"name": "snr", "min": 10}], "tiers": {"loud": [{"name": "loudness", "min": -20}], "rest": []},
    "units": {"max_recordings": 3},
}  # fmt: skip
RECORDINGS = 60


def recordings() -> Iterator[Recording]:
    """Some of them the same bytes as others, with and without a text; of more sources than are told."""
    for number in range(RECORDINGS):
        sha = f"{number % 23:064x}"
        text = "told" if number % 5 == 0 else None
        yield Recording(uri=f"/none/{number}.wav", name=f"{number:03d}.wav", bytes=9, sha256=sha, text=text,
                        license="CC0-1.0", source=f"shelf {number // 2}")  # fmt: skip


def units_in(work: Path, chain: Chain, manifest: CorpusManifest) -> Planned:
    """The plan, and what workers would have left of it."""
    units = planned(recordings(), limits=manifest.units, path=work / plans.PLAN)
    random = np.random.default_rng(0)
    for unit in units:
        result = UnitResult(unit=unit.id, chain=chain.fingerprint, fingerprints=chain.fingerprints)
        with SoundFile(sound_path(work, unit=unit.id, chain=chain.fingerprint)) as sound:
            for item in unit.recordings:
                facts: dict[str, Any] = {"recording": item.name, "license": item.license, "source": "of old"}
                count = 0 if item.name.endswith("7.wav") else 3
                for part in range(count):
                    begin, end = 16000 * part, 16000 * part + 16000 - 800 * bool(item.text)
                    segment = Segment(
                        key=segment_key(str(item.sha256), start_sample=begin, end_sample=end), corpus="toy",
                        recording_sha256=str(item.sha256), start_sample=begin, end_sample=end, rate_hz=16000,
                        channels=1, seconds=1.0, given_text=item.text, text=item.text, speech_ratio=0.5,
                        snr_db=float(random.integers(5, 16)), loudness_lufs=float(random.integers(-23, -17)), **facts,
                    )  # fmt: skip
                    place = Sound("segment", sound.put(b"sound"), 5)
                    done = {"status": "ready", "transform": "loudness", "sounds": (place,), "segment": as_row(segment)}
                    result.fates.append(Fate(seconds=1.1, **done, **facts))
                if not count:
                    why = {"status": "failed", "transform": "probe", "reason": "decode: no sound"}
                    result.fates.append(Fate(seconds=0.5, **why, **facts))
                result.recordings.append(RecordingFact(item.name, 1.1 * count or 0.5, count))
            sound.put(b"")
            result.wall_seconds["probe"] = result.cpu_seconds["probe"] = 0.1 * len(unit.recordings)
            save(work, result, sound)
    return units


def assembled(root: Path, *, group: int, monkeypatch: pytest.MonkeyPatch, connect: Callable[[], None]) -> Path:
    """The corpus so far: its ledger; beside it facts, samples and examples, as text."""
    manifest = parse(CorpusManifest, MANIFEST, where="toy")
    chain, out = Chain(manifest), root / f"out{group}"
    out.mkdir()
    work = root / "work"
    units = units_in(work, chain, manifest)
    monkeypatch.setattr(plans, "GROUP", group)
    job = Job(name="toy", manifest=manifest, inputs={}, out=out, work=work, attempt=1, say=lambda _: None,
              run=JournalRun(root / "journal", About(new_id(), "toy", "test", "corpus")), connect=connect)  # fmt: skip
    made = assemble(job, units, chain=chain)
    facts = made.facts()
    told = [json.dumps(facts["by_reason"]), *map(str, made.samples), str(made.examples.found), str(facts["hours"])]
    assert facts["costs"]["probe"]["cpu_seconds"] == pytest.approx(0.1 * RECORDINGS)
    (out / "told").write_text("\n".join(told))
    return out


def same(one: Path, other: Path) -> bool:
    """The same bytes."""
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in ("ledger.parquet", "told"))


def test_verdicts_are_the_same_for_any_number_of_units_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outs = [assembled(tmp_path, group=n, monkeypatch=monkeypatch, connect=lambda: None) for n in (1, 3, 1000)]
    assert same(outs[0], outs[1])
    assert same(outs[0], outs[2])
    rows = [row for row in read_ledger(outs[0]) if row["key"] is not None]
    told = {row["reason"].partition(",")[0] for row in rows if "duplicate" in row["reasons"]}
    assert told == {"duplicate: the same bytes came before", "duplicate: the same bytes were refused before",
                    "duplicate: the same bytes came with a transcript"}  # fmt: skip
    assert {row["source"] for row in rows} <= {f"shelf {number}" for number in range(RECORDINGS)}, "the rights of today"


def test_verdicts_are_those_of_one_row_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = parse(CorpusManifest, MANIFEST, where="toy")
    seen = Seen()
    monkeypatch.setattr("pipelines.verdicts.Seen", lambda: seen)
    out = assembled(tmp_path, group=2, monkeypatch=monkeypatch, connect=lambda: None)
    rows = [row for row in read_ledger(out) if row["key"] is not None]
    often, remembered = Counter(row["key"] for row in rows), seen.kept | seen.refused.keys()
    assert remembered
    assert remembered <= {key for key, times in often.items() if times > 1}, "nothing of a key that comes once"
    told = [row for row in rows if row["given_text"] is not None and next(verdicts([row], manifest)).tier is not None]

    def elsewhere(row: Any) -> bool:
        same = (one for one in told if one["recording_sha256"] == row["recording_sha256"])
        overlap = (one["start_sample"] < row["end_sample"] and row["start_sample"] < one["end_sample"] for one in same)
        return row["given_text"] is None and any(overlap)

    expected = [(v.tier, list(v.reasons), v.detail or None) for v in verdicts(rows, manifest, elsewhere=elsewhere)]
    assert [(row["tier"], row["reasons"], row["reason"]) for row in rows] == expected


def square(number: int, *, folder: Path) -> int:
    """Dies once on its way to some of them."""
    once = folder / str(number)
    if number % 4 == 1 and not once.exists():
        once.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 100:
        raise CorpusError("100: cannot be read; remove it and run again")
    return number * number


@pytest.mark.system
def test_tasks_give_the_same_as_one_process_and_after_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = assembled(tmp_path, group=1, monkeypatch=monkeypatch, connect=lambda: None)
    monkeypatch.setattr(tasks, "MANY", 0)
    with Cluster(ClusterManifest(cpus=2, object_store_mb=100)) as cluster:
        assert same(alone, assembled(tmp_path, group=3, monkeypatch=monkeypatch, connect=cluster.connect))
        call = partial(square, folder=tmp_path)
        assert list(in_order(call, range(10), connect=cluster.connect)) == [n * n for n in range(10)]
        assert (tmp_path / "9").exists(), "a worker was killed"
        with pytest.raises(CorpusError, match="^100: cannot be read; remove it and run again$"):
            list(in_order(call, [100, 2], connect=cluster.connect))
