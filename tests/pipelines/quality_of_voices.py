"""How well voices are found and told apart on real recordings: prints a table; asserts nothing. Takes some minutes.

`python -m tests.pipelines.quality_of_voices ../shared/audio`; `test_quality_of_voices.py` holds the bars, on less.
"""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from models.frozen import Wave
from models.frozen.silero import Silero
from pipelines.clip import Clip, Decoded, Turn
from pipelines.diarizers import DiarizerConfig
from pipelines.diarizers.windows import HOP, NEAREST, Windows, heard
from pipelines.filters import one_voice
from pipelines.hearing.embedders import EmbedderConfig, embedder_of
from pipelines.hearing.voices import FRAME, Activity
from pipelines.transforms import diarize, segment, speaker
from tests.pipelines.joined_voices import Error, Spoken, decoded, equal_error_rate, error, librispeech, rttm, turns
from tests.sounds import clip_of

RATE_HZ = 16000
CUT = 3 * RATE_HZ
VAD_LABELS: Mapping[str, tuple[tuple[tuple[float, float], ...], float]] = {
    "vad/sb_vad_train.flac": (((0.52, 0.85), (1.32, 1.83), (2.35, 3.70)), 4.0),
    "vad/sb_vad_valid.flac": (((0.38, 2.7), (4.1, 5.88)), 8.0),
    "zh/funasr_sample.flac": (((0.77, 5.98),), 6.0),
}
"""Clip -> when somebody speaks, and up to when that is known: as MANIFEST.tsv notes it."""


def read(path: Path) -> Wave:
    """Mono at 16 kHz."""
    wave, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    mono = wave.mean(axis=1)
    return np.asarray(mono if rate_hz == RATE_HZ else soxr.resample(mono, rate_hz, RATE_HZ), dtype=np.float32)


def conversations(audio: Path) -> dict[str, tuple[Wave, list[Turn]]]:
    """Name -> recording and its true turns, of those in conversation/ that an RTTM file describes."""
    known = {name: found for path in sorted((audio / "labels").glob("*.rttm")) for name, found in rttm(path).items()}
    made = {}
    for path in sorted((audio / "conversation").iterdir()):
        name = re.sub("^(ami_|pyannote_)", "", path.stem)
        if name in known:
            made[path.stem] = (read(path), known[name])
    return made


def speech_labels(audio: Path) -> Iterator[tuple[str, Wave, list[tuple[float, float]]]]:
    """Clips whose speech is labeled, up to where that is known."""
    for name, (wave, truth) in conversations(audio).items():
        yield name, wave, [(turn.start_seconds, turn.end_seconds) for turn in truth]
    for name, (spans, end) in VAD_LABELS.items():
        yield name, read(audio / name)[: round(end * RATE_HZ)], list(spans)


def speech_by_segment(wave: Wave) -> Activity:
    """What `segment` takes for speech, in frames of 10 ms: runs of the detector."""
    transform = segment.Transform(segment.Config())
    mask_F = np.zeros(-(-len(wave) // FRAME), dtype=bool)
    for span in transform.spans(transform.vad.probabilities(wave)):
        mask_F[round(span.start * Silero.FRAME_SECONDS * 100) : round(span.end * Silero.FRAME_SECONDS * 100)] = True
    return mask_F


class SpeechByDiarize:
    """What `diarize` takes for speech, before pauses are bridged."""

    def __init__(self) -> None:
        self.windows = Windows(DiarizerConfig())

    def __call__(self, wave: Wave) -> Activity:
        classes = self.windows.segmentation.chunks(wave, hop=HOP)[:, NEAREST]
        frames = -(-len(wave) // FRAME)
        return heard(self.windows.vad.probabilities(wave), classes, frames=frames, cfg=self.windows.cfg)[0]


def vad_counts(found_F: Activity, spans: Sequence[tuple[float, float]]) -> NDArray[np.int64]:
    """Frames that are speech and were found, that were found and are not, and that were missed."""
    truth_F = np.zeros(len(found_F), dtype=bool)
    for start, end in spans:
        truth_F[round(start * 100) : round(end * 100)] = True
    return np.array([(found_F & truth_F).sum(), (found_F & ~truth_F).sum(), (truth_F & ~found_F).sum()])


def f1(counts: NDArray[np.int64]) -> float:
    """Harmonic mean of precision and recall."""
    return float(2 * counts[0] / (2 * counts[0] + counts[1] + counts[2]))


def false_alarms(audio: Path, detector: object) -> dict[str, float]:
    """Share of noise and music that is taken for speech."""
    paths = [path for folder in ("noise", "music") for path in sorted((audio / folder).iterdir())]
    return {path.name: float(np.mean(detector(read(path)))) for path in paths}  # type: ignore[operator]


def cuts(clips: Sequence[Spoken], *, each: int) -> list[Spoken]:
    """Pieces of 3 s, up to so many a clip."""
    return [
        Spoken(clip.speaker, clip.name, clip.wave[number * CUT : (number + 1) * CUT])
        for clip in clips
        for number in range(min(each, len(clip.wave) // CUT))
    ]


def likeness(pieces: Sequence[Spoken], embedder: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cosines of pieces of one speaker out of different recordings, and of different speakers."""
    vectors = np.stack(embedder_of(EmbedderConfig(embedder=embedder))([piece.wave for piece in pieces]))
    upper = np.triu_indices(len(pieces), k=1)
    speakers, names = (np.array([getattr(piece, key) for piece in pieces]) for key in ("speaker", "name"))
    same = speakers[upper[0]] == speakers[upper[1]]
    elsewhere = names[upper[0]] != names[upper[1]]
    cosines = (vectors @ vectors.T)[upper].astype(np.float64)
    return cosines[same & elsewhere], cosines[~same]


def diarized(transform: diarize.Transform, wave: Wave, truth: Sequence[Turn]) -> tuple[Error, int]:
    """The error, and how many voices were found."""
    found = transform(decoded(wave))
    assert isinstance(found, Decoded)
    assert found.turns is not None
    return error(truth, found.turns, seconds=len(wave) / RATE_HZ), len({turn.voice for turn in found.turns})


def joined_turns(
    clips: Sequence[Spoken], *, seed: int, count: int, gap_seconds: tuple[float, float]
) -> Iterator[tuple[Wave, tuple[Turn, ...]]]:
    """Recordings of two and three speakers in turn, four to seven turns each."""
    random = np.random.default_rng(seed)
    for number in range(count):
        turn_count = int(random.integers(4, 8))
        yield turns(clips, random=random, voices=2 + number % 2, count=turn_count, gap_seconds=gap_seconds)


def halves(clips: Sequence[Spoken]) -> tuple[list[Spoken], list[Spoken]]:
    """The clips of one half of the speakers, and those of the other."""
    names = sorted({clip.speaker for clip in clips})
    first = {name for number, name in enumerate(names) if number % 2 == 0}
    return [c for c in clips if c.speaker in first], [c for c in clips if c.speaker not in first]


def pairs(clips: Sequence[Spoken], *, seed: int, count: int) -> Iterator[Wave]:
    """Two speakers in one clip: 2 to 6 s of each, up to 0.3 s between."""
    random = np.random.default_rng(seed)
    made = 0
    while made < count:
        one, other = (clips[int(at)] for at in random.choice(len(clips), 2, replace=False))
        if one.speaker == other.speaker:
            continue
        parts = []
        for clip in (one, other):
            size = min(round(random.uniform(2, 6) * RATE_HZ), len(clip.wave))
            start = int(random.integers(0, len(clip.wave) - size + 1))
            parts.append(clip.wave[start : start + size])
        yield np.concatenate([parts[0], np.zeros(round(random.uniform(0, 0.3) * RATE_HZ), np.float32), parts[1]])
        made += 1


def between(clips: Sequence[Spoken], *, seed: int, count: int) -> Iterator[Wave]:
    """A speaker, 1.5 to 3 s of another, and the first one again, 0.2 s between."""
    random = np.random.default_rng(seed)
    gap = np.zeros(round(0.2 * RATE_HZ), np.float32)
    long = [clip for clip in clips if len(clip.wave) >= 6 * RATE_HZ]
    made = 0
    while made < count:
        one, other = (long[int(at)] for at in random.choice(len(long), 2, replace=False))
        if one.speaker != other.speaker:
            half = min(len(one.wave) // 2, 5 * RATE_HZ)
            words = other.wave[RATE_HZ // 2 :][: round(random.uniform(1.5, 3) * RATE_HZ)]
            yield np.concatenate([one.wave[:half], gap, words, gap, one.wave[half : 2 * half]])
            made += 1


def gains(transform: speaker.Transform, waves: Sequence[Wave]) -> NDArray[np.float64]:
    """The score that `one_voice` judges."""
    done = [transform.one(clip_of(wave)) for wave in waves]
    return np.array([item.segment.speaker_split_gain or 0.0 for item in done if isinstance(item, Clip)])


def table(audio: Path) -> Iterator[str]:
    """A line a measure."""
    clips = librispeech(audio)
    for name, detector in (("segment", speech_by_segment), ("diarize", SpeechByDiarize())):
        counts = sum((vad_counts(detector(wave), spans) for _, wave, spans in speech_labels(audio)), np.zeros(3, int))
        worst = max(false_alarms(audio, detector).items(), key=lambda item: item[1])
        yield f"speech, {name}: F1 {f1(counts):.3f}; worst false alarm {worst[1]:.1%} of {worst[0]}"
    pieces = cuts(clips, each=3)
    for name in ("campplus", "resemblyzer"):
        same, different = likeness(pieces, name)
        rate = equal_error_rate(same, different)
        yield f"same voice, {name}, 3 s: EER {rate:.2%} of {len(same)} and {len(different)} pairs"
    transform = diarize.Transform(diarize.Config())
    for name, (wave, truth) in conversations(audio).items():
        found, voices = diarized(transform, wave, truth)
        yield f"who speaks, {name}: {told(found)}; {voices} voices of {len({turn.voice for turn in truth})}"
    for seed, gap in ((101, (0.2, 0.6)), (102, (0.0, 0.2)), (103, (0.0, 0.0))):
        results = [
            (*diarized(transform, wave, truth), len({turn.voice for turn in truth}))
            for wave, truth in joined_turns(clips, seed=seed, count=12, gap_seconds=gap)
        ]
        right = sum(found == known for _, found, known in results)
        whole = sum((item[0] for item in results), Error(0, 0, 0, 0))
        yield f"who speaks, joined turns, pauses {gap} s: {told(whole)}; voices counted in {right} of {len(results)}"
    for name in ("campplus", "resemblyzer"):
        measure = speaker.Transform(speaker.Config(embedder=name))
        for side, half in zip(("one half", "other half"), halves(clips), strict=True):
            limit = one_voice.Config().max
            single = gains(measure, [clip.wave for clip in half])
            double = gains(measure, list(pairs(half, seed=7, count=40)))
            amid = gains(measure, list(between(half, seed=11, count=20)))
            yield (
                f"two voices in a clip, {name}, {side} of the speakers: {np.mean(double > limit):.1%} found, "
                f"{np.mean(amid > limit):.1%} where the second is in the middle, "
                f"{np.mean(single > limit):.1%} of {len(single)} single ones lost"
            )


def told(found: Error) -> str:
    """Rates of the parts of the error."""
    parts = (found.missed / found.total, found.false / found.total, found.confused / found.total)
    return f"DER {found.rate:.2%} (missed {parts[0]:.2%}, false {parts[1]:.2%}, confused {parts[2]:.2%})"


if __name__ == "__main__":
    for line in table(Path(sys.argv[1])):
        print(line, flush=True)
