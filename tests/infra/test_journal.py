"""The journal of a run on disk: a record costs little, and what a kill or a full disk cuts takes no other with it."""

import resource
import time
from pathlib import Path

import pytest

from infra.journal import JournalWriter, last_end, read_from
from tests.processes import limited


def test_a_record_costs_microseconds_and_survives_a_torn_line(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, "worker-0")
    began = time.process_time()
    for step in range(2000):
        writer.metrics({"flow/loss": 1.0 / (step + 1), "flow/stop": 0.5}, step=step)
    each = (time.process_time() - began) / 2000
    writer.close()
    with writer.path.open("ab") as file:
        file.write(b'{"t":"metrics","step":2000,"v":{"flow/lo')
    again = JournalWriter(tmp_path, "worker-0")
    again.metrics({"flow/loss": 0.0}, step=2000)
    again.close()
    records, end = read_from(writer.path, 0)
    assert [record["step"] for record in records] == list(range(2001))
    assert end == writer.path.stat().st_size
    assert each < 500e-6, f"{each * 1e6:.0f} microseconds a record"


def test_a_record_that_a_full_disk_cut_takes_no_other_with_it(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, "driver")
    writer.record("start", {"attempt": 1})
    size = writer.path.stat().st_size
    with limited(resource.RLIMIT_FSIZE, size + 10), pytest.raises(OSError, match="No space left"):
        writer.record("tags", {"v": {"a": "b" * 100}})
    writer.record("end", {"status": "FAILED"})
    writer.close()
    assert [record["t"] for record in read_from(writer.path, 0)[0]] == ["start", "end"]
    assert last_end(tmp_path) == "FAILED"


def test_a_line_that_is_still_being_written_is_left_for_later(tmp_path: Path) -> None:
    file = tmp_path / "w.jsonl"
    file.write_bytes(b'{"t":"tags","v":{}}\n{"t":"met')
    records, end = read_from(file, 0)
    assert len(records) == 1
    assert end == 20
