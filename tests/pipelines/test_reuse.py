"""What an earlier chain has found out is taken over; what comes out is what a new build would give, to the last bit."""

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from infra.manifest import parse
from pipelines.build import adopt
from pipelines.chain import Chain
from pipelines.clip import Clip, Rejected
from pipelines.ledger import UnitResult, is_final, load, result_path, sound_path
from pipelines.manifest import CorpusManifest
from pipelines.planned import PLAN
from pipelines.readers import folder
from pipelines.reuse import earlier_results, note_chain, reasons_to_run, unseen
from pipelines.units import Unit, unit_of
from pipelines.workers import UnitWorker

RATE_HZ = 16000
MANIFEST: dict[str, Any] = {
    "name": "toy",
    "transforms": ["probe", "segment", "bandwidth", "enhance", "language", "loudness", "speaker", "caption"],
}


class Counted:
    """A chain that takes every sound for speech, and counts the clips that each transform gets."""

    def __init__(self, work: Path, *, enhanced: Sequence[str] = ("1.wav",), **changes: Any) -> None:
        names = [{"name": name, **changes.get(name, {})} for name in MANIFEST["transforms"]]
        self.chain = Chain(parse(CorpusManifest, {**MANIFEST, "transforms": names}, where="toy"))
        self.work = work
        self.clips: Counter[str] = Counter()
        self.chain.segment.vad.probabilities = self.speech
        for name, transform in self.chain.rest.items():
            self.chain.rest[name] = self.counting(name, halved(enhanced) if name == "enhance" else transform)

    def speech(self, wave_S: Any) -> Any:
        self.clips["vad"] += 1
        return np.full(-(-len(wave_S) // 512), 0.9, np.float32)

    def counting(self, name: str, inner: Any) -> Any:
        def call(clips: Sequence[Clip]) -> list[Clip | Rejected]:
            self.clips[name] += len(clips)
            found: list[Clip | Rejected] = inner(clips)
            return found

        return call

    def run(self, unit: Unit) -> UnitResult:
        """With what other chains have left in the work folder."""
        found = earlier_results(self.chain.specs, [unit.id], [self.work])
        note_chain(self.work, self.chain.specs)
        self.chain.run_unit(unit, self.work, earlier=found.get(unit.id))
        return load(result_path(self.work, unit=unit.id, chain=self.chain.fingerprint))

    def heard(self, result: UnitResult) -> dict[str, tuple[Any, bytes]]:
        """Segment -> its row, and the bytes of its FLAC."""
        sound = sound_path(self.work, unit=result.unit, chain=result.chain).read_bytes()
        last = {str(fate.segment["key"]): fate for fate in result.fates if fate.segment}
        return {
            key: (fate.segment, sound[fate.sounds[-1].offset : fate.sounds[-1].offset + fate.sounds[-1].flac_bytes])
            for key, fate in last.items()
            if fate.sounds
        }


def halved(names: Sequence[str]) -> Any:
    """In place of an enhancer: quieter where it is asked to be."""

    def call(clips: Sequence[Clip]) -> list[Clip | Rejected]:
        return [
            clip.with_(clip.wave_S * np.float32(0.3), enhanced="toy")
            if clip.segment.recording in names
            else clip.with_(enhanced="no")
            for clip in clips
        ]

    return call


@pytest.fixture
def unit(tmp_path: Path) -> Unit:
    """Recordings of 24 bits, finer than what is stored."""
    root = tmp_path / "recordings"
    root.mkdir()
    for number in range(4):
        wave_S = np.random.default_rng(number).normal(0, 0.1, 3 * RATE_HZ)
        soundfile.write(root / f"{number}.wav", wave_S, RATE_HZ, subtype="PCM_24")
    return unit_of(list(folder.recordings(folder.Config(), root)))


def test_one_changed_transform_runs_alone_with_those_that_read_it(unit: Unit, tmp_path: Path) -> None:
    first = Counted(tmp_path / "work")
    first.run(unit)
    assert all(count == 4 for count in first.clips.values())
    why = reasons_to_run(
        Counted(tmp_path / "work", loudness={"noise_percentile": 20}).chain.specs, [tmp_path / "work"], known=1
    )
    assert why["loudness"] == "noise_percentile: 10.0 -> 20.0"
    assert why["caption"] == "it sees what loudness gives"
    assert {name for name, reason in why.items() if reason} == {"loudness", "caption"}
    second = Counted(tmp_path / "work", loudness={"noise_percentile": 20})
    again = second.run(unit)
    assert dict(second.clips) == {"loudness": 4, "caption": 4}
    fresh = Counted(tmp_path / "fresh", loudness={"noise_percentile": 20})
    assert second.heard(again) == fresh.heard(fresh.run(unit))


def test_new_enhancer_runs_what_hears_it_and_leaves_what_came_before(unit: Unit, tmp_path: Path) -> None:
    Counted(tmp_path / "work").run(unit)
    second = Counted(tmp_path / "work", enhanced=("2.wav", "3.wav"), enhance={"wet": 0.5})
    again = second.run(unit)
    assert dict(second.clips) == {"enhance": 4, "language": 4, "loudness": 4, "speaker": 4, "caption": 4}
    fresh = Counted(tmp_path / "fresh", enhanced=("2.wav", "3.wav"), enhance={"wet": 0.5})
    assert second.heard(again) == fresh.heard(fresh.run(unit))


def test_same_chain_without_a_transform_runs_nothing(unit: Unit, tmp_path: Path) -> None:
    first = Counted(tmp_path / "work")
    result = first.run(unit)
    MANIFEST_SHORT = [name for name in MANIFEST["transforms"] if name != "caption"]
    second = Counted(tmp_path / "work")
    second.chain = Chain(parse(CorpusManifest, {**MANIFEST, "transforms": MANIFEST_SHORT}, where="toy"))
    again = second.run(unit)
    assert not second.clips
    assert [flac for _, flac in second.heard(again).values()] == [flac for _, flac in first.heard(result).values()]
    assert again.audio_seconds == {}


def test_segment_that_passes_now_goes_through_everything_after(unit: Unit, tmp_path: Path) -> None:
    first = Counted(tmp_path / "work")
    inner = first.chain.rest["loudness"]
    first.chain.rest["loudness"] = lambda clips: [
        Rejected(segment=clip.segment, reason="failed:error: moody") if clip.segment.recording == "2.wav" else out
        for clip, out in zip(clips, inner(clips), strict=True)
    ]
    first.run(unit)
    assert first.clips["speaker"] == 3
    second = Counted(tmp_path / "work", loudness={"noise_percentile": 20})
    again = second.run(unit)
    fresh = Counted(tmp_path / "fresh", loudness={"noise_percentile": 20})
    assert second.heard(again) == fresh.heard(fresh.run(unit))
    assert second.clips["speaker"] == 1, "that of the recording that never came so far"


def test_other_cuts_take_over_nothing(unit: Unit, tmp_path: Path) -> None:
    Counted(tmp_path / "work").run(unit)
    second = Counted(tmp_path / "work", segment={"pad_seconds": 0.1})
    assert earlier_results(second.chain.specs, [unit.id], [tmp_path / "work"]) == {}
    note_chain(tmp_path / "work", second.chain.specs)
    why = reasons_to_run(second.chain.specs, [tmp_path / "work"], known=0)
    assert why["segment"] == "pad_seconds: 0.15 -> 0.1"
    assert "it sees what segment gives" in why["loudness"]
    second.run(unit)
    assert second.clips["vad"] == 4


def test_units_without_an_earlier_result_say_why(unit: Unit, tmp_path: Path) -> None:
    first = Counted(tmp_path / "work")
    assert unseen(1, of=1, works=[tmp_path / "work"]) == "", "nothing was built before"
    first.run(unit)
    note_chain(tmp_path / "work", first.chain.specs)
    other = unit_of([replace(recording, speaker="ann") for recording in unit.recordings])
    assert earlier_results(first.chain.specs, [other.id], [tmp_path / "work"]) == {}
    assert "other things are said of them (text, language, speaker" in unseen(1, of=1, works=[tmp_path / "work"])
    assert set(reasons_to_run(first.chain.specs, [tmp_path / "work"], known=0).values()) == {""}, (
        "no transform has changed"
    )


def test_arrays_are_kept_and_taken_over(unit: Unit, tmp_path: Path) -> None:
    def with_arrays(clips: Sequence[Clip]) -> list[Clip | Rejected]:
        return [clip.with_array("latent", np.arange(len(clip.wave_S) % 7 + 1)) for clip in clips]

    def arrays_of(counted: Counted, result: UnitResult) -> list[Any]:
        sound = sound_path(counted.work, unit=result.unit, chain=result.chain).read_bytes()
        places = [(fate.recording, *fate.arrays) for fate in result.fates if fate.status == "ready"]
        return [(name, np.load(io.BytesIO(sound[at.offset : at.offset + at.npy_bytes]))) for name, at in places]

    first = Counted(tmp_path / "work")
    first.chain.rest["speaker"] = with_arrays
    before = arrays_of(first, first.run(unit))
    assert len(before) == 4
    second = Counted(tmp_path / "work", enhanced=("2.wav",), loudness={"noise_percentile": 20})
    again = second.run(unit)
    assert second.clips["speaker"] == 0
    assert [(name, array.tolist()) for name, array in arrays_of(second, again)] == [
        (name, array.tolist()) for name, array in before
    ]


@pytest.mark.parametrize("when", ["before", "while it is taken over"])
def test_unit_whose_earlier_result_goes_away_is_done_anew(
    unit: Unit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Its version of the corpus is set aside to be built again, or what failed in it is to be tried again."""
    Counted(tmp_path / "work").run(unit)
    second = Counted(tmp_path / "second", loudness={"noise_percentile": 20})
    (earlier,) = (tmp_path / "work" / "units").glob("*.jsonl")
    usual = second.chain.take_over

    def gone(*words: Any) -> None:
        (tmp_path / "work").rename(tmp_path / "work-replaced-1")
        usual(*words)

    if when == "before":
        (tmp_path / "work").rename(tmp_path / "work-replaced-1")
    monkeypatch.setattr(second.chain, "take_over", gone)
    worker = UnitWorker.__new__(UnitWorker)
    worker.work, worker.stop, worker.chain = second.work, "", second.chain
    worker.work.mkdir(exist_ok=True)
    size = (worker.work / PLAN).write_text(unit.to_json())
    status = worker({"start": [0], "bytes": [size], "earlier": [str(earlier)]})["status"]
    assert '"stop"' not in status[0]
    fresh = Counted(tmp_path / "fresh", loudness={"noise_percentile": 20})
    expected = fresh.heard(fresh.run(unit))
    assert second.heard(load(result_path(second.work, unit=unit.id, chain=second.chain.fingerprint))) == expected
    assert len(expected) == 4


def test_unit_that_goes_away_while_it_is_adopted_is_not(unit: Unit, tmp_path: Path) -> None:
    first = Counted(tmp_path / "work")
    result = first.run(unit)
    path = result_path(tmp_path / "work", unit=unit.id, chain=result.chain)
    path.unlink()
    assert not adopt(path, tmp_path / "second")
    assert not is_final(tmp_path / "second", unit=unit.id, chain=result.chain)
