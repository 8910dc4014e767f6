"""Units: the same recordings give the same units, whatever order they come in."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.manifest import Units
from pipelines.reading.ordered import place
from pipelines.row import Recording
from pipelines.units import Unit, cut, rights_of, unit_of


def recording(number: int, *, size: int = 1_000_000, root: str = "/data") -> Recording:
    return Recording(uri=f"{root}/{number:03d}.wav", name=f"{number:03d}.wav", bytes=size, text="a \u4f60 b")


def plan_units(recordings: Sequence[Recording], *, limits: Units) -> list[Unit]:
    """In memory."""
    return list(cut(sorted(recordings, key=place), total_bytes=sum(one.bytes for one in recordings), limits=limits))


def test_order_does_not_matter_and_nothing_is_lost() -> None:
    all_of_them = [recording(n) for n in range(50)]
    shuffled = random.Random(1).sample(all_of_them, 50)
    units = plan_units(shuffled, limits=Units(max_mb=7))
    assert units == plan_units(all_of_them, limits=Units(max_mb=7))
    assert [r for unit in units for r in unit.recordings] == all_of_them
    assert all(unit.bytes <= 7e6 for unit in units)
    assert len({unit.id for unit in units}) == len(units)


def test_long_recording_is_a_unit_of_its_own() -> None:
    sizes = [1, 1, 100, 1, 1]
    units = plan_units([recording(n, size=s * 1_000_000) for n, s in enumerate(sizes)], limits=Units(max_mb=8))
    assert [recording(2, size=100_000_000)] in [list(unit.recordings) for unit in units]


def test_a_recording_that_is_added_changes_the_unit_that_it_falls_into_and_no_other() -> None:
    all_of_them = [recording(n, size=300_000 + 7919 * n % 900_000) for n in range(600)]
    units = plan_units(all_of_them, limits=Units(max_mb=8))
    for number in (3, 250, 599):
        fewer = plan_units([*all_of_them[:number], *all_of_them[number + 1 :]], limits=Units(max_mb=8))
        assert len({unit.id for unit in units} - {unit.id for unit in fewer}) <= 2
    assert 50 < len(units) < 250


def test_small_corpus_is_cut_into_enough_units_to_share() -> None:
    units = plan_units([recording(n, size=400_000) for n in range(100)], limits=Units())
    assert len(units) >= 32


def test_unit_is_named_by_content_and_time_not_by_place(tmp_path: Path) -> None:
    here, there = [plan_units([recording(1, root=root)], limits=Units())[0].id for root in ("/a", "/b")]
    assert here == there
    file = tmp_path / "001.wav"
    file.write_bytes(b"1")
    before = plan_units([recording(1, root=str(tmp_path))], limits=Units())[0].id
    import os

    os.utime(file, ns=(1, 1))
    assert plan_units([recording(1, root=str(tmp_path))], limits=Units())[0].id != before != here


def test_unit_travels_as_text() -> None:
    unit = plan_units([recording(1), recording(2)], limits=Units())[0]
    assert Unit.from_json(unit.to_json()) == unit


def test_two_recordings_of_one_name_are_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"001\.wav: there are two"):
        plan_units([recording(1), recording(1)], limits=Units())


def test_license_and_source_do_not_name_a_unit_unless_the_intervals_of_a_file_differ_in_them() -> None:
    one = [replace(recording(0), start_seconds=start, end_seconds=start + 1.0) for start in (0.0, 1.0)]
    both = [replace(item, license="CC0-1.0", source="a shelf") for item in one]
    assert unit_of(one).id == unit_of(both).id != unit_of([one[0], both[1]]).id
    assert unit_of([one[0], both[1]]).id != unit_of([both[0], one[1]]).id
    assert rights_of(both) == {one[0].name: {"license": "CC0-1.0", "source": "a shelf"}}
    assert rights_of([one[0], both[1]]) == {}
