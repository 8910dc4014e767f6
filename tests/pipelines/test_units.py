"""Units: the same recordings give the same units, whatever order they come in."""

import random
from pathlib import Path

import pytest

from pipelines.manifest import Units
from pipelines.row import Recording
from pipelines.units import Unit, plan_units


def recording(number: int, *, size: int = 1_000_000, root: str = "/data") -> Recording:
    return Recording(uri=f"{root}/{number:03d}.wav", name=f"{number:03d}.wav", bytes=size, text="a \u4f60 b")


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
    assert [len(unit.recordings) for unit in units] == [2, 1, 2]


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
