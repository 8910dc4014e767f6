"""How scores are called on a page, and the limits that a manifest puts on them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from infra.manifest import names_in, resolve

SCORES = {
    "seconds": ("Duration", "s"),
    "utmos": ("Quality by UTMOS", "MOS"),
    "mos_overall": ("Quality, overall", "MOS"),
    "mos_signal": ("Quality of the speech", "MOS"),
    "mos_background": ("Quality of the background", "MOS"),
    "bandwidth_hz": ("Bandwidth", "Hz"),
    "snr_db": ("Speech over background", "dB"),
    "music_ratio": ("Share of music", ""),
    "singing_ratio": ("Share of singing", ""),
    "noise_ratio": ("Share of loud noise", ""),
    "overlap_ratio": ("Share of overlapping speech", ""),
    "speech_ratio": ("Share of speech", ""),
    "loudness_lufs": ("Loudness", "LUFS"),
    "peak": ("Peak", "of full scale"),
    "clipped_ratio": ("Share of clipped samples", ""),
    "heard_cer": ("Heard against given text", "CER"),
    "cer_mean": ("Recognizers against each other", "CER"),
    "edge_cer": ("Recognizers at the edges", "CER"),
    "length_ratio": ("Heard for each character of the text", ""),
    "compression_ratio": ("Compression of the text", ""),
    "untexted_seconds": ("Speech without text", "s"),
    "align_score": ("Words in the sound", "log likelihood"),
    "edge_score": ("First and last word in the sound", "log likelihood"),
    "uncovered_seconds": ("Longest speech without a word", "s"),
    "heard_log_probability": ("Recognizer's own score", "log probability"),
    "separation_gain": ("Opinion gained by separation", "MOS"),
    "chars_per_second": ("Speaking rate", "characters/s"),
    "speaker_cosine_mean": ("Windows to the mean voice", "cosine"),
    "speaker_cosine_min": ("Farthest window", "cosine"),
    "speaker_split_gain": ("Change of voice", "distance"),
    "pitch_hz": ("Pitch", "Hz"),
    "rate_hz": ("Sampling rate", "Hz"),
}
"""Score -> its name and unit, in the order in which they are shown; others follow under the names of their columns."""
UNITS = {"_hz": "Hz", "_db": "dB", "_lufs": "LUFS", "_seconds": "s", "_cer": "CER", "_wer": "WER"}
QUALITY = ("utmos", "mos_overall", "snr_db")
"""Scores that say which clip is worst: the first that was measured."""
OPINIONS = ("utmos", "mos_overall")
"""Models of listeners' opinions: where two of them disagree, one is wrong."""
DISAGREEMENTS = ("cer_mean", "heard_cer", "edge_cer")
"""Scores that say how far recognizers, or a recognizer and the given text, disagree."""
SUSPICIONS = {"caption_conflicts": "Captions that the measures deny", "hallucination": "Texts that look made up"}
"""Lists of what speaks against a clip -> what a clip is whose list is not empty."""
ON_CARDS = {
    "utmos": "UTMOS", "mos_overall": "MOS", "bandwidth_hz": "band", "snr_db": "SNR", "cer_mean": "CER between",
    "heard_cer": "CER", "speaker_split_gain": "voice change", "loudness_lufs": "LUFS", "pitch_hz": "pitch",
    "chars_per_second": "char/s",
}  # fmt: skip
"""What a card shows of a clip, if it was measured, and how short; all else when asked."""
SHORT_UNITS = ("Hz", "dB", "s")
"""Units that a card shows."""


@dataclass(frozen=True)
class Limit:
    """A number that a filter of the manifest holds a score against."""

    filter: str
    score: str
    side: str
    """`min` or `max`."""
    value: float
    place: str
    """`keep`, or the tier."""
    language: str = ""
    """For which it holds, where limits differ by language."""


def name_of(score: str) -> tuple[str, str]:
    """Name and unit of a score."""
    if score in SCORES:
        return SCORES[score]
    unit = next((unit for ending, unit in UNITS.items() if score.endswith(ending)), "")
    return score.replace("_", " "), unit


def known_first(scores: list[str]) -> list[str]:
    """Well-known scores first."""
    known = [score for score in SCORES if score in scores]
    return [*known, *(score for score in scores if score not in SCORES)]


def limits(manifest: Mapping[str, Any]) -> Iterator[Limit]:
    """Every `min` and `max` of the filters in a manifest (as stored in funnel.json)."""
    known = names_in("pipelines.filters")
    for place, entries in {"keep": manifest.get("keep", []), **manifest.get("tiers", {})}.items():
        for entry in entries:
            if entry["name"] not in known:
                continue  # a corpus of an earlier version of the code
            score = str(resolve("pipelines.filters", entry["name"]).SCORE)
            for side in ("min", "max"):
                value = entry["settings"].get(side)
                table = value if isinstance(value, Mapping) else {"": value}
                for language, number in table.items():
                    if isinstance(number, int | float) and not isinstance(number, bool):
                        yield Limit(entry["name"], score, side, float(number), place, language)
