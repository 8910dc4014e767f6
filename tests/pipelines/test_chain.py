"""The chain over a unit, without Ray: fates for all, blame for the guilty, and no unit done twice."""

import faulthandler
import json
import multiprocessing
import os
import resource
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from infra.manifest import parse
from pipelines import sealing
from pipelines.attempts import Attempts
from pipelines.chain import Chain
from pipelines.clip import Clip, Decoded, Rejected, Unusable
from pipelines.ledger import UnitResult, final_units, load, result_path, sound_path
from pipelines.manifest import CorpusManifest
from pipelines.planned import PLAN
from pipelines.readers import folder
from pipelines.row import Recording
from pipelines.sealing import SoundFile
from pipelines.units import Unit, unit_of
from pipelines.workers import UnitWorker
from tests.processes import exit_code

MANIFEST = {"name": "toy", "transforms": ["probe", "segment", "loudness", "bandwidth"]}


def chain_of(**facts: Any) -> Chain:
    """A chain that takes every sound for speech."""
    chain = Chain(parse(CorpusManifest, {**MANIFEST, **facts}, where="toy"))
    chain.segment.vad.probabilities = lambda wave_S: np.full(-(-len(wave_S) // 512), 0.9, np.float32)
    return chain


@pytest.fixture
def unit(tmp_path: Path) -> Unit:
    """Five good recordings and one bad."""
    root = tmp_path / "recordings"
    root.mkdir()
    for number in range(5):
        wave_S = np.random.default_rng(number).normal(0, 0.1, 48000).astype(np.float32)
        soundfile.write(root / f"{number}.wav", wave_S, 16000)
    (root / "2b.wav").write_bytes(b"RIFF....")
    return unit_of(list(folder.recordings(folder.Config(), root)))


def ready(result: UnitResult) -> list[str]:
    return [fate.recording for fate in result.fates if fate.status == "ready"]


def test_every_recording_has_its_fate_and_its_sound(unit: Unit, tmp_path: Path) -> None:
    chain = chain_of()
    result = chain.run_unit(unit, tmp_path)
    assert result is not None
    assert ready(result) == ["0.wav", "1.wav", "2.wav", "3.wav", "4.wav"]
    failed = [fate for fate in result.fates if fate.status == "failed"]
    assert [(fate.recording, fate.transform) for fate in failed] == [("2b.wav", "probe")]
    assert failed[0].reason is not None
    assert failed[0].reason.startswith("decode: neither libsndfile")
    assert result.counts["loudness"] == {"ok": 5, "dropped": 0, "failed": 0}
    sound = sound_path(tmp_path, unit=unit.id, chain=chain.fingerprint).read_bytes()
    fate = result.fates[-1]
    path = tmp_path / "one.flac"
    (place,) = fate.sounds
    path.write_bytes(sound[place.offset : place.offset + place.flac_bytes])
    heard, _ = soundfile.read(path, dtype="int16")
    expected, _ = soundfile.read(unit.recordings[-1].uri, dtype="int16")
    assert np.array_equal(heard, expected)
    assert fate.segment is not None
    assert fate.segment["loudness_lufs"] is not None


def test_final_unit_is_not_done_again_unless_the_chain_changes(unit: Unit, tmp_path: Path) -> None:
    chain = chain_of()
    first = chain.run_unit(unit, tmp_path)
    assert first is not None
    stored = load(result_path(tmp_path, unit=unit.id, chain=chain.fingerprint))
    assert [fate.segment and fate.segment["key"] for fate in stored.fates] == [
        fate.segment and fate.segment["key"] for fate in first.fates
    ]
    assert chain.run_unit(unit, tmp_path) is None
    assert final_units(tmp_path, chain=chain.fingerprint) == {unit.id}
    other = chain_of(transforms=["probe", "segment", {"name": "loudness"}, {"name": "bandwidth", "below_peak_db": 40}])
    assert other.fingerprints["loudness"] == chain.fingerprints["loudness"]
    assert other.fingerprint != chain.fingerprint
    assert other.run_unit(unit, tmp_path) is not None


def test_unit_that_lost_the_name_of_a_file_in_a_power_cut_is_done_again_to_the_same_bytes(
    unit: Unit, tmp_path: Path
) -> None:
    chain = chain_of()
    for path in (sound_path, result_path):
        assert chain.run_unit(unit, tmp_path) is not None
        whole = sound_path(tmp_path, unit=unit.id, chain=chain.fingerprint).read_bytes()
        path(tmp_path, unit=unit.id, chain=chain.fingerprint).unlink()
        assert final_units(tmp_path, chain=chain.fingerprint) == set()
        assert chain.run_unit(unit, tmp_path) is not None
        assert sound_path(tmp_path, unit=unit.id, chain=chain.fingerprint).read_bytes() == whole
        shutil.rmtree(tmp_path / "units")


def test_sound_is_seen_when_its_unit_is_final_and_never_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "FLUSHED_BYTES", 2_000_000)
    sound, result = tmp_path / "units" / "u.c.flac", tmp_path / "units" / "u.c.jsonl"
    with SoundFile(sound) as file:
        places = [file.put(bytes([number]) * 900_000) for number in range(5)]
        assert not sound.exists()
        file.seal(result, b"told")
    assert places == [0, 900_000, 1_800_000, 2_700_000, 3_600_000]
    assert sound.read_bytes() == b"".join(bytes([number]) * 900_000 for number in range(5))
    assert (result.read_bytes(), sorted(path.name for path in sound.parent.iterdir())) == (
        b"told",
        ["u.c.flac", "u.c.jsonl"],
    )
    with SoundFile(tmp_path / "units" / "v.c.flac") as file:
        file.put(b"never sealed")
    assert len(list(sound.parent.iterdir())) == 2


def test_one_clip_that_raises_is_one_failed_clip(unit: Unit, tmp_path: Path) -> None:
    chain = chain_of()
    inner = chain.rest["loudness"]
    calls = []

    def moody(clips: Sequence[Clip]) -> list[Clip | Rejected]:
        calls.append(len(clips))
        if any(clip.segment.recording == "3.wav" for clip in clips):
            raise ValueError("cannot\nstand it")
        return inner(clips)

    chain.rest["loudness"] = moody
    result = chain.run_unit(unit, tmp_path)
    assert result is not None
    assert ready(result) == ["0.wav", "1.wav", "2.wav", "4.wav"]
    guilty = next(fate for fate in result.fates if fate.recording == "3.wav")
    assert (guilty.status, guilty.transform) == ("failed", "loudness")
    assert guilty.reason == "error: ValueError: cannot stand it"
    assert guilty.sounds
    assert calls[0] == 5


def test_error_of_ours_is_not_blamed_on_a_clip(unit: Unit, tmp_path: Path) -> None:
    chain = chain_of()

    def broken(clips: Sequence[Clip]) -> list[Clip | Rejected]:
        raise TypeError("a mistake in the code")

    chain.rest["loudness"] = broken
    with pytest.raises(TypeError):
        chain.run_unit(unit, tmp_path)
    assert final_units(tmp_path, chain=chain.fingerprint) == set()
    assert not list((tmp_path / "units").glob("*"))


def one_worker(unit: Unit, work: Path, deadly: Sequence[str], how: str) -> None:
    """A worker that dies the hard way on the deadly recordings: in the decoder, or in a transform."""
    chain = chain_of()

    def die(names: Sequence[str]) -> None:
        if set(names) & set(deadly):
            os.kill(os.getpid(), signal.SIGKILL) if "kill" in how else faulthandler._sigsegv()

    decode, score = chain.probe, chain.rest["loudness"]

    def probe(recordings: Sequence[Recording]) -> list[Decoded | Unusable]:
        die([recording.name for recording in recordings])
        found: list[Decoded | Unusable] = decode(recordings)
        return found

    def loudness(clips: Sequence[Clip]) -> list[Clip | Rejected]:
        die([clip.segment.recording for clip in clips])
        return score(clips)

    if "decoder" in how:
        chain.probe = probe
    else:
        chain.rest["loudness"] = loudness
    chain.run_unit(unit, work)


@pytest.mark.parametrize(
    ("how", "deadly", "most"),
    [
        ("crash in the decoder", ["1.wav"], 2),
        ("crash in a transform", ["1.wav"], 2),
        ("crash in a transform", ["0.wav", "4.wav"], 3),
        ("killed in the decoder", ["1.wav"], 4),
    ],
)
def test_clip_that_kills_costs_itself_and_few_workers(
    unit: Unit, tmp_path: Path, how: str, deadly: list[str], most: int
) -> None:
    chain = chain_of()
    deaths = 0
    spawn = multiprocessing.get_context("spawn")
    while unit.id not in final_units(tmp_path, chain=chain.fingerprint):
        worker = spawn.Process(target=one_worker, args=(unit, tmp_path, deadly, how))
        worker.start()
        deaths += exit_code(worker) != 0
        assert worker.exitcode in (0, -signal.SIGKILL, -signal.SIGSEGV)
        assert deaths <= most
        worker.close()
    result = load(result_path(tmp_path, unit=unit.id, chain=chain.fingerprint))
    names = {recording.name for recording in unit.recordings}
    assert set(ready(result)) == names - {*deadly, "2b.wav"}
    crashed = {fate.recording: fate.reason for fate in result.fates if (fate.reason or "").startswith("crash")}
    assert set(crashed) == set(deadly)
    assert deaths == most
    assert not list((tmp_path / "attempts").iterdir())


def test_worker_killed_from_outside_costs_nothing(unit: Unit, tmp_path: Path) -> None:
    chain = chain_of()
    undisturbed = chain.run_unit(unit, tmp_path / "whole")
    path = Attempts(tmp_path, unit=unit.id, chain=chain.fingerprint).path
    path.parent.mkdir()
    for mark in ("decode 0", "decode 0", "loudness 0", "loudness 0", "loudness 0 " + "a" * 26):
        with path.open("a") as file:
            file.write(f"\ntry\nbegin {mark}\n")
    disturbed = chain_of().run_unit(unit, tmp_path)
    assert undisturbed is not None
    assert disturbed is not None
    assert disturbed.fates == undisturbed.fates


def test_batches_are_halved_where_memory_does_not_suffice_and_nothing_is_lost(unit: Unit, tmp_path: Path) -> None:
    chain = chain_of()
    inner = chain.rest["loudness"]
    sizes = []

    def small(clips: Sequence[Clip]) -> list[Clip | Rejected]:
        sizes.append(len(clips))
        if len(clips) > 2:
            raise MemoryError
        return inner(clips)

    chain.rest["loudness"] = small
    result = chain.run_unit(unit, tmp_path / "small")
    plain = chain_of().run_unit(unit, tmp_path / "plain")
    assert result is not None
    assert plain is not None
    assert result.fates == plain.fates
    assert sizes[0] == 5
    assert max(sizes[-2:]) <= 2
    assert chain.most_seconds["loudness"] < chain.most_seconds["bandwidth"]


def told_without_room(manifest: CorpusManifest, size: int, work: Path, told: "multiprocessing.Queue[str]") -> None:
    """What a worker says where no file may have more than 1000 bytes, as on a disk that is full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    found = UnitWorker(manifest, work)({"start": [0], "bytes": [size], "earlier": [""]})
    told.put(found["status"][0])


def test_disk_without_room_is_a_sentence_and_the_unit_is_done_later(unit: Unit, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    told: multiprocessing.Queue[str] = context.Queue()
    manifest, size = parse(CorpusManifest, MANIFEST, where="toy"), (tmp_path / PLAN).write_text(unit.to_json())
    child = context.Process(target=told_without_room, args=(manifest, size, tmp_path, told))
    child.start()
    assert exit_code(child) == 0  # what it tells is short: a pipe holds it
    status = json.loads(told.get())
    assert "raise it (ulimit -f) and run the same command again" in status["stop"]
    assert f"({tmp_path / 'units'}" in status["stop"]
    assert final_units(tmp_path, chain=chain_of().fingerprint) == set()
    assert chain_of().run_unit(unit, tmp_path) is not None


def test_what_stopped_a_unit_is_told_where_no_mark_can_be_written_of_it(tmp_path: Path) -> None:
    attempts = Attempts(tmp_path, unit="unit", chain="chain")

    def stopped() -> None:
        with attempts, Path("/dev/full").open("a") as full:
            os.dup2(full.fileno(), attempts.file.fileno())
            raise ValueError("the cause")

    with pytest.raises(ValueError, match="the cause"):
        stopped()
    assert attempts.file.closed
