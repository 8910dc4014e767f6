"""A plan holds any number of recordings: what is in memory of it is counted, and what it says is what was planned."""

import os
import random
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.catalog import CountedRecordings, write_catalog
from pipelines.manifest import Units
from pipelines.planned import PLAN, Recordings, planned, read_unit
from pipelines.readers import jsonl
from pipelines.reading import ordered as module
from pipelines.reading.containers import member_uri
from pipelines.reading.ordered import ordered, place
from pipelines.row import Recording
from pipelines.units import cut

LIMITS = Units(max_mb=20, max_recordings=64)


def recordings(count: int) -> Iterator[Recording]:
    for number in range(count):
        name = f"part-{number // 1000:04d}.tar/{number % 1000:06d}.mp3"
        text = f"Sentence number {number}, of some words." if number % 3 else None
        yield Recording(uri=f"/data/{name}", name=name, bytes=100_000 + number % 777, text=text, extra={"id": number})


def test_a_plan_says_what_units_in_memory_say_in_whatever_order_recordings_come(tmp_path: Path) -> None:
    whole = list(recordings(700))
    units = list(cut(whole, total_bytes=sum(one.bytes for one in whole), limits=LIMITS))
    shuffled = random.Random(1).sample(whole, len(whole))
    plan = planned(iter(shuffled), limits=LIMITS, path=tmp_path / PLAN)
    assert list(plan) == units
    assert [read_unit(plan.path, plan.line(number)) for number in range(len(plan))] == units
    assert list(plan.names()) == [unit.id for unit in units]
    assert plan.counts.tolist() == [len(unit.recordings) for unit in units]
    assert plan.sizes.tolist() == [unit.bytes for unit in units]
    assert (plan.recordings, plan.with_text) == (700, sum(one.text is not None for one in whole))
    listed = Recordings(plan)
    assert list(listed) == whole
    assert [listed[number] for number in (0, 63, 64, 699)] == [whole[number] for number in (0, 63, 64, 699)]
    assert sorted(path.name for path in tmp_path.iterdir()) == [PLAN]


def test_pieces_are_merged_however_many_and_what_is_in_order_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_OPEN", 3)
    monkeypatch.setattr(module, "PIECE", 30)
    whole = list(recordings(500))
    shuffled = random.Random(2).sample(whole, len(whole))
    for name, given, files in (("in-order", whole, 1), ("shuffled", shuffled, 2)):
        (tmp_path / name).mkdir()
        found = ordered(given, folder=tmp_path / name)
        assert list(found) == sorted(whole, key=place)
        assert (found.count, found.bytes) == (500, sum(one.bytes for one in whole))
        assert len(list((tmp_path / name).iterdir())) == len(found.pieces) == files


def test_the_disk_is_asked_once_for_an_archive_and_not_for_each_recording_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for tar in range(3):
        path = tmp_path / f"{tar}.tar"
        path.touch()
        for number in range(100):
            uri = member_uri(path, member=f"{number:03d}.mp3", offset=number, length=1)
            found.append(Recording(uri=uri, name=f"{tar}.tar/{number:03d}.mp3", bytes=1))
    (tmp_path / "catalog").mkdir()
    write_catalog(tmp_path / "catalog", CountedRecordings(found))
    asked, usual = Counter[str](), os.stat

    def stat(path: Any, *words: Any, **named: Any) -> os.stat_result:
        asked[str(path)] += ".tar" in str(path)
        return usual(path, *words, **named)

    monkeypatch.setattr(os, "stat", stat)
    write_catalog(tmp_path / "catalog", CountedRecordings(found))
    read = jsonl.recordings(jsonl.Config(roots=[tmp_path]), tmp_path / "catalog")
    plan = planned(read, limits=LIMITS, path=tmp_path / PLAN)
    assert plan.recordings == 300
    assert asked.total() <= 30
    assert max(asked.values()) <= 10


def test_two_of_one_name_leave_no_plan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there are two recordings of this name"):
        planned([*recordings(3), *recordings(1)], limits=LIMITS, path=tmp_path / PLAN)
    assert not list(tmp_path.iterdir())


def test_the_driver_holds_less_than_8_bytes_a_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", 500)
    most = []
    for count in (2_000, 12_000, 12_000):  # twice: a table of the interpreter's own may grow in one of them
        tracemalloc.start()
        plan = planned(recordings(count), limits=LIMITS, path=tmp_path / PLAN)
        for _ in plan:
            pass
        most.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert plan.recordings == count
    assert min(most[1:]) - most[0] < 8 * 10_000
