"""Samples wait in files: however many there are, they come out in order, whole, and few are in memory at a time."""

import gc
import hashlib
import pickle
import tracemalloc
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import assemble
from pipelines import unpacked as module
from pipelines.ledger import (
    Array,
    Fate,
    RecordingFact,
    Sound,
    UnitResult,
    ledger_tables,
    load,
    read_ledger,
    result_path,
    save,
    sound_path,
)
from pipelines.packing.writer import write_shard
from pipelines.policy.redaction import REDACTED
from pipelines.policy.repeated import keys_in, repeated_keys
from pipelines.row import as_row
from pipelines.sealing import SoundFile
from pipelines.shards import CorpusError
from pipelines.unpacked import KeptSample, KeptSamples, UnitSounds, line_of, lines_table
from tests.pipelines.corpora import segment
from tests.pipelines.packable import write_ledger

CHAIN = "0123456789ab"


def unit_of(work: Path, name: str, numbers: range) -> UnitResult:
    """A final unit whose segments have their number as sound, and every third an array."""
    result = UnitResult(unit=name, chain=CHAIN)
    with SoundFile(sound_path(work, unit=name, chain=CHAIN)) as sound:
        for number in numbers:
            data = f"sound {number}".encode()
            arrays = (Array("latent", "latents", sound.put(b"npy"), 3),) if number % 3 == 0 else ()
            sounds = (Sound("segment", sound.put(data), len(data)),)
            row = as_row(segment(number, sha=hashlib.sha256(str(number).encode()).hexdigest()))
            facts: dict[str, Any] = {"status": "ready", "transform": "mos", "sounds": sounds, "arrays": arrays}
            result.fates.append(Fate(recording=row["recording"], seconds=1.0, segment=row, **facts))
            result.recordings.append(RecordingFact(row["recording"], 1.0, 1))
        save(work, result, sound)
    return load(result_path(work, unit=name, chain=CHAIN))


def samples_of(work: Path, *results: UnitResult) -> KeptSamples:
    samples = KeptSamples(work, corpus="toy", chain=CHAIN)
    for result in results:
        for number, fate in enumerate(result.fates):
            assert fate.segment is not None
            rights = {"license": "CC0-1.0", "source": "a shelf"} if number % 2 else {}
            row = {**as_row(segment(0)), **fate.segment, "tier": "gold"}
            samples.add(lines_table([line_of(fate, row, unit=result.unit, rights=rights)]))
    return samples


def test_samples_come_by_their_keys_the_same_from_memory_and_from_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    units = [unit_of(tmp_path, f"u{n}", range(40 * n, 40 * n + 40)) for n in range(5)]
    whole = list(samples_of(tmp_path, *units))
    keys = [sample.key for sample in whole]
    assert keys == sorted(fate.segment["key"] for unit in units for fate in unit.fates if fate.segment)
    assert not (tmp_path / module.FOLDER).exists()
    monkeypatch.setattr(module, "PIECE", 32)
    samples = samples_of(tmp_path, *units)
    assert samples.count == 200
    assert samples.held < 32
    assert len(list((tmp_path / module.FOLDER).iterdir())) > 50
    assert list(samples) == whole
    assert not (tmp_path / module.FOLDER).exists()
    first = next(sample for sample in whole if sample.arrays)
    assert first.file.read_bytes()[first.offset :].startswith(b"sound ")
    assert first.row["key"] == first.key
    assert {sample.row["license"] for sample in whole} == {"CC0-1.0"}


def test_no_more_samples_are_in_memory_than_wait_for_their_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PIECE", 100)
    (result,) = [unit_of(tmp_path, "u0", range(1))]
    most = []
    for count in (1000, 6000, 6000):  # twice: a table of the interpreter's own may grow in one of them
        samples = KeptSamples(tmp_path, corpus="toy", chain=CHAIN)
        row = {**as_row(segment(0)), "tier": "gold"}
        line = line_of(result.fates[0], row, unit="u0", rights={})
        samples.add(lines_table([line]))
        samples.write()
        tracemalloc.start()
        for number in range(count):
            key = hashlib.sha256(str(number).encode()).hexdigest()[:26]
            samples.add(lines_table([line._replace(key=key)]))
        assert sum(isinstance(sample, KeptSample) for sample in samples) == count + 1
        most.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert min(most[1:]) - most[0] < 30 * 5000


def test_samples_that_wait_do_not_hold_what_came_with_them_out_of_a_task(tmp_path: Path) -> None:
    """Pickled as Ray does: the buffers of a table lie apart, in memory that is free when nobody looks at it."""
    (fate,) = unit_of(tmp_path, "u0", range(1)).fates
    line = line_of(fate, {**as_row(segment(0)), "tier": "gold"}, unit="u0", rights={})
    apart: list[pickle.PickleBuffer] = []
    told = pickle.dumps(lines_table([line]), protocol=5, buffer_callback=apart.append)
    memory = [np.frombuffer(bytes(buffer), dtype=np.uint8) for buffer in apart]
    held = [weakref.ref(part) for part in memory]
    samples = KeptSamples(tmp_path, corpus="toy", chain=CHAIN)
    samples.add(pickle.loads(told, buffers=memory))
    memory.clear()
    gc.collect()
    assert held
    assert not any(part() is not None for part in held)
    assert [sample.key for sample in samples] == [line.key]


def test_sound_of_a_row_is_found_in_the_result_of_its_unit_and_of_what_was_taken_down_nowhere(tmp_path: Path) -> None:
    result = unit_of(tmp_path, "u0", range(3))
    sounds = UnitSounds(tmp_path, chain=CHAIN)
    for number, fate in enumerate(result.fates):
        assert fate.segment is not None
        row = {**fate.segment, "unit": "u0"}
        assert sounds(row) == f"sound {number}".encode()
        assert sounds({**row, "recording": REDACTED}) is None
        assert sounds({**row, "key": "f" * 26}) is None


def test_keys_that_come_more_than_once_are_found_by_the_bytes_of_results(tmp_path: Path) -> None:
    one, two = (unit_of(tmp_path, name, numbers) for name, numbers in (("u0", range(50)), ("u1", range(45, 90))))
    keys = [str(fate.segment["key"]) for unit in (one, two) for fate in unit.fates if fate.segment]
    paths = [result_path(tmp_path, unit=name, chain=CHAIN) for name in ("u0", "u1", "u2")]
    found = repeated_keys(keys_in([path]) for path in paths[:2])
    twice = {key[:16].encode() for key in keys if keys.count(key) > 1}
    assert found.among([key[:16].encode() for key in keys]) == twice
    assert len(found.numbers) == 5
    sly = replace(two.fates[0], segment={**(two.fates[0].segment or {}), "text": f'"key":"{keys[0]}"'})
    with SoundFile(sound_path(tmp_path, unit="u2", chain=CHAIN)) as sound:
        sound.put(b"")
        save(tmp_path, UnitResult(unit="u2", chain=CHAIN, fates=[sly]), sound)
    assert not len(repeated_keys([keys_in(paths[2:])]).numbers), "a text is no key"


def test_examples_lie_evenly_among_all_and_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assemble, "MOST_SPREAD", 16)
    for count in (5, 16, 1000):
        spread = assemble.Spread()
        for number in range(count):
            spread.add("unit", str(number))
        numbers = [int(key) for _, key in spread.found]
        assert numbers == list(range(0, count, spread.every))
        assert min(count, 8) <= len(numbers) <= 16


def test_a_row_is_read_once_for_its_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = list(samples_of(tmp_path, unit_of(tmp_path, "u0", range(30))))
    read = list[int]()

    def pread(file: int, count: int, offset: int) -> bytes:
        read.append(count)
        return usual(file, count, offset)

    usual = module.os.pread
    monkeypatch.setattr(module.os, "pread", pread)
    write_shard(tmp_path / "packed", 0, whole)
    assert len(read) == 2 * len(whole), "its line, and its sound"


def test_ledger_is_read_some_rows_at_a_time_in_the_order_of_the_columns_asked_for(tmp_path: Path) -> None:
    rows = [{**as_row(segment(number)), "item_seconds": 1.0, "reasons": []} for number in range(7)]
    empty = dict.fromkeys(("unit", "transform", "fingerprint", "status", "reason", "tier"))
    write_ledger(tmp_path / "ledger.parquet", [{**row, **empty} for row in rows])
    parts = list(ledger_tables(tmp_path, "seconds", "no such column", "key", rows=3))
    assert [part.num_rows for part in parts] == [3, 3, 1]
    assert {tuple(part.column_names) for part in parts} == {("seconds", "key")}
    assert [key for part in parts for key in part["key"].to_pylist()] == [row["key"] for row in rows]
    assert [row for part in ledger_tables(tmp_path) for row in part.to_pylist()] == read_ledger(tmp_path)
    write_ledger(tmp_path / "ledger.parquet", [])
    assert [(part.num_rows, part.column_names) for part in ledger_tables(tmp_path, "key")] == [(0, ["key"])]
    (tmp_path / "ledger.parquet").write_bytes(b"PAR1")
    with pytest.raises(CorpusError, match="cannot be read"):
        next(ledger_tables(tmp_path))
