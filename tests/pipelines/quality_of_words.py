"""How good the embedded English chain is on real recordings: prints a table; asserts nothing. Takes some minutes.

`python -m tests.pipelines.quality_of_words ../shared/audio` reads MANIFEST.tsv there: clips with a transcript.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from models.frozen import Heard, Wave
from models.frozen.moonshine import Moonshine
from models.frozen.pocketsphinx import PocketSphinx
from models.frozen.sphinx_align import words_of
from pipelines.hearing.consistency import character_error_rate
from pipelines.hearing.texts import norm_form
from pipelines.row import Segment
from pipelines.transforms import align
from tests.sounds import clip_of, scored

RATE_HZ = 16000


@dataclass(frozen=True)
class Spoken:
    """A clip of which somebody knows the text."""

    name: str
    kind: str
    text: str
    wave: Wave


def spoken_english(audio: Path) -> list[Spoken]:
    """The English clips of MANIFEST.tsv that have a transcript, at 16 kHz."""
    lines = (audio / "MANIFEST.tsv").read_text(encoding="utf-8").splitlines()
    rows = [dict(zip(lines[0].split("\t"), line.split("\t"), strict=False)) for line in lines[1:]]
    wanted = [
        row for row in rows if row["language"] == "en" and row["transcript"] and row["kind"] in ("clean", "noisy")
    ]
    return [Spoken(row["file"], row["kind"], row["transcript"], read(audio / row["file"])) for row in wanted]


def read(path: Path) -> Wave:
    """A file as one channel at 16 kHz."""
    wave, native_hz = soundfile.read(path, dtype="float32", always_2d=True)
    mono = wave.mean(axis=1)
    return np.asarray(mono if native_hz == RATE_HZ else soxr.resample(mono, native_hz, RATE_HZ), dtype=np.float32)


def error_rates(clips: Sequence[Spoken], heard: Sequence[Heard]) -> tuple[float, float]:
    """Word and character error rate over all clips together."""
    import jiwer

    said = [norm_form(clip.text) for clip in clips]
    found = [norm_form(item.text) for item in heard]
    return float(jiwer.wer(said, found)), float(jiwer.cer(said, found))


def aligned(clips: Sequence[tuple[Wave, str]]) -> list[Segment]:
    """Each text in its waveform, as the transform `align` measures it."""
    transform = align.Transform(align.Config())
    return [scored(transform, clip_of(wave_S, text=text, language="en")) for wave_S, text in clips]


def swapped(clips: Sequence[Spoken], *, count: int = 3) -> list[tuple[Wave, str]]:
    """Every clip with the texts of the others that are nearest in length: the wrong texts that are hardest to find."""
    pairs = []
    for clip in clips:
        others = sorted({other.text for other in clips} - {clip.text}, key=lambda text: abs(len(text) - len(clip.text)))
        pairs += [(clip.wave, text) for text in others[:count]]
    return pairs


def cut(clips: Sequence[Spoken], right: Sequence[Segment], *, at_start: bool) -> list[tuple[Wave, str]]:
    """Every clip, cut through the middle of its first or last word."""
    pairs = []
    for clip, found in zip(clips, right, strict=True):
        if not found.word_starts or not found.word_ends:
            continue
        word = 0 if at_start else -1
        middle = round((found.word_starts[word] + found.word_ends[word]) / 2 * RATE_HZ)
        pairs.append((clip.wave[middle:] if at_start else clip.wave[:middle], clip.text))
    return pairs


def lacking(clips: Sequence[Spoken], *, words: int = 3) -> list[tuple[Wave, str]]:
    """Every clip of enough words with a text that lacks some in its middle."""
    texts = [(clip.wave, words_of(clip.text)) for clip in clips]
    middles = [(wave_S, said, (len(said) - words) // 2) for wave_S, said in texts if len(said) > 2 * words]
    return [(wave_S, " ".join(said[:at] + said[at + words :])) for wave_S, said, at in middles]


def refused(found: Sequence[Segment], keep: Callable[[Segment], bool]) -> float:
    """Share of the segments that a filter refuses."""
    return sum(not keep(segment) for segment in found) / len(found)


def auc(right: Sequence[float], wrong: Sequence[float]) -> float:
    """Probability that a right one scores above a wrong one."""
    above = np.asarray(right)[:, None] - np.asarray(wrong)[None, :]
    return float((above > 0).mean() + 0.5 * (above == 0).mean())


def agreement_table(clips: Sequence[Spoken], heard: Mapping[str, str]) -> None:
    """What a limit on the error rate against the given text loses of right texts, and finds of those of other clips."""
    right = [(clip, clip.text) for clip in clips]
    wrong = [(clip, text) for clip in clips for text in sorted({other.text for other in clips} - {clip.text})]
    groups = ([p for p in right if p[0].kind == "clean"], [p for p in right if p[0].kind == "noisy"], wrong)
    rates = [
        [character_error_rate(heard[clip.name], given=text, language="en") for clip, text in pairs] for pairs in groups
    ]
    print(f"{'':12} heard_cer AUC: clean {auc([-v for v in rates[0]], [-v for v in rates[2]]):.3f}")
    for at in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7):
        shares = [np.mean(np.asarray(some) > at) for some in rates]
        print(f"{'':12} max {at}: lost clean {shares[0]:.0%}, noisy {shares[1]:.0%}; found {shares[2]:.0%}")


def main(audio: Path) -> None:
    """Print the tables."""
    from pipelines.filters import alignment, coverage, edge_words

    clips = spoken_english(audio)
    kinds = {kind: [clip for clip in clips if clip.kind == kind] for kind in ("clean", "noisy")}
    for name, recognizer in (("moonshine", Moonshine()), ("pocketsphinx", PocketSphinx())):
        heard = dict(zip([clip.name for clip in clips], recognizer([clip.wave for clip in clips]), strict=True))
        for kind, some in kinds.items():
            wer, cer = error_rates(some, [heard[clip.name] for clip in some])
            print(f"{name:12} {kind} {len(some):3} clips  WER {wer:6.1%}  CER {cer:6.1%}")
        agreement_table(clips, {clip.name: heard[clip.name].text for clip in clips})
    right = aligned([(clip.wave, clip.text) for clip in clips])
    clean = [found for clip, found in zip(clips, right, strict=True) if clip.kind == "clean"]
    noisy = [found for clip, found in zip(clips, right, strict=True) if clip.kind == "noisy"]
    wrong = aligned(swapped(clips))
    starts = aligned(cut(kinds["clean"], clean, at_start=True))
    ends = aligned(cut(kinds["clean"], clean, at_start=False))
    short = aligned(lacking(kinds["clean"]))
    tables: list[tuple[str, Callable[[Segment], bool], list[tuple[str, list[Segment]]]]] = [
        ("alignment", lambda s: alignment.keep(s, alignment.Config()), [("text of another clip", wrong)]),
        ("edge_words", lambda s: edge_words.keep(s, edge_words.Config()), [("first cut", starts), ("last cut", ends)]),
        ("coverage", lambda s: coverage.keep(s, coverage.Config()), [("three words lost", short)]),
    ]
    for name, keep, cases in tables:
        lost = f"lost of right ones: clean {refused(clean, keep):.0%} of {len(clean)}, noisy {refused(noisy, keep):.0%}"
        print(f"{name:10} {lost} of {len(noisy)}")
        for case, found in cases:
            print(f"{'':10} found: {case}, {refused(found, keep):.0%} of {len(found)}")
    scores = [[found.align_score or 0.0 for found in some] for some in (clean, noisy, wrong)]
    print(f"align_score AUC: clean {auc(scores[0], scores[2]):.3f}, noisy {auc(scores[1], scores[2]):.3f}")
    for at in (-4.0, alignment.Config().min, -3.0, -2.5):
        shares = [np.mean(np.asarray(some) < at) for some in scores]
        print(f"{'':10} min {at:5}: lost clean {shares[0]:.0%}, noisy {shares[1]:.0%}; found {shares[2]:.0%}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
