"""The clips of an audit page: how much of each fits, its sound and picture, and a card that shows and plays it."""

import html
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pipelines.audit.pictures import data_uri, opus, short, spectrogram
from pipelines.audit.scores import ON_CARDS, SHORT_UNITS, SUSPICIONS, name_of
from pipelines.funnel import duration

Row = Mapping[str, Any]

MAX_BYTES = 14_500_000
"""Of the page."""
HTML_BYTES, HTML_A_CLIP, PICTURE_BYTES = 400_000, 2200, 5200
"""What a page needs beside the sounds: itself, and a clip's text and picture, in base64."""
LONGEST_SECONDS = (20.0, 3.0)
"""Of a clip's sound on the page, the rest is cut off: where there is room for it, and where there is little."""
BIT_RATES = (20_000, 48_000)
"""Least and most that Opus gets, by how much there is to hear."""
OVERHEAD = 1.15
"""Of the container, and of a rate that is only nearly kept."""
FLAC_BYTES = 48_000
"""A sound that is no larger is taken as it is stored."""
NOT_ON_CARDS = (
    "key", "corpus", "recording", "recording_sha256", "license", "source", "status", "reason", "reasons", "unit",
    "transform", "fingerprint", "schema", "text", "heard_text", "item_seconds", "start_sample", "end_sample",
    "pcm_sha256", "audio_print", "text_raw", "text_norm",
)  # fmt: skip
"""Columns that a card shows in words of its own, or that tell nobody anything."""


@dataclass(frozen=True)
class PageClip:
    """A clip on the page."""

    sound: str
    picture: str
    seconds: float
    """Of the sound on the page."""
    rate_hz: int

    @property
    def top(self) -> str:
        """The highest frequency of the picture."""
        return f"{self.rate_hz / 2000:g} kHz"


@dataclass
class PageSounds:
    """The sounds and pictures that a page carries, each once, and how much room is left for more."""

    sound_of: Callable[[Row], bytes | None]
    lengths: Sequence[float]
    """Seconds of each clip that the page will ask for."""
    clips: dict[str, PageClip | None] = field(default_factory=dict)
    used: int = 0

    @property
    def room(self) -> int:
        """Bytes that all sounds may take."""
        return MAX_BYTES - HTML_BYTES - len(self.lengths) * (HTML_A_CLIP + PICTURE_BYTES)

    @cached_property
    def longest_seconds(self) -> float:
        """How much of a clip is played, such that all fit at the least rate."""
        longest, shortest = LONGEST_SECONDS
        while longest > shortest and self.fitting(longest) < BIT_RATES[0]:
            longest -= 0.5
        return longest

    @cached_property
    def bits_per_second(self) -> int:
        """Such that all clips fit."""
        return int(max(BIT_RATES[0], min(BIT_RATES[1], self.fitting(self.longest_seconds))))

    def fitting(self, longest: float) -> float:
        """The rate at which all clips fit when no more than `longest` seconds of each are played."""
        seconds = sum(min(length, longest) for length in self.lengths)
        return self.room * 0.75 * 8 / max(seconds, 1.0) / OVERHEAD

    def clip(self, row: Row) -> PageClip | None:
        """The clip of a row; None where there is no sound of it, or no room."""
        key = str(row["key"])
        if key not in self.clips:
            data = self.sound_of(row) if self.used < self.room + len(self.lengths) * PICTURE_BYTES else None
            self.clips[key] = None if data is None else self.made(data)
        return self.clips[key]

    def made(self, data: bytes) -> PageClip:
        """Cut, compressed, drawn."""
        import soundfile

        wave_S, rate_hz = soundfile.read(io.BytesIO(data), dtype="float32")
        longest = int(self.longest_seconds * rate_hz)
        whole, wave_S = len(wave_S) <= longest, wave_S[:longest]
        if whole and len(data) <= FLAC_BYTES and self.bits_per_second == BIT_RATES[1]:
            sound = data_uri("audio/flac", data)
        else:
            packed = opus(wave_S, rate_hz=rate_hz, bits_per_second=self.bits_per_second)
            sound = data_uri("audio/webm", packed)
        picture = data_uri("image/webp", spectrogram(wave_S, rate_hz=rate_hz))
        self.used += len(sound) + len(picture)
        return PageClip(sound, picture, len(wave_S) / rate_hz, rate_hz)


def sheet(sounds: PageSounds, rows: Sequence[Row], *, score: str | None = None) -> str:
    """The cards of those rows that have a sound; nothing where none has."""
    cards = [card_of(row, clip, score=score) for row in rows if (clip := sounds.clip(row))]
    return f'<div class="sheet">{"".join(cards)}</div>' if cards else ""


def card_of(row: Row, clip: PageClip, *, score: str | None) -> str:
    """A clip: picture and player in one, text, why, and its numbers; the score in question first."""
    said = f'<p class="text">{text(row["text"])}</p>' if row.get("text") else '<p class="text none">untranscribed</p>'
    heard = f'<p class="heard">heard: {text(row["heard_text"])}</p>' if row.get("heard_text") else ""
    why = f"tier {row['tier']}" if row["status"] == "kept" else str(row.get("reason"))
    against = [sentence for name in SUSPICIONS for sentence in row.get(name) or ()]
    doubt = "".join(f'<p class="doubt">{text(sentence)}</p>' for sentence in against)
    return (
        f'<article class="clip {text(row["status"])}">{player(row, clip)}{said}{heard}<p class="why">{text(why)}</p>'
        f'{doubt}<p class="numbers">{numbers(row, score=score)}</p><details><summary>{text(place(row))}</summary>'
        f"<dl>{everything(row)}</dl></details></article>"
    )


def player(row: Row, clip: PageClip) -> str:
    """The picture, which plays where it is pressed."""
    key, long = text(row["key"]), length(row, clip)
    return (
        f'<button class="look" data-clip="{key}" aria-label="play {long}">'
        f'<img alt="spectrogram" data-picture="{key}"><i class="head"></i>'
        f'<span class="khz">{clip.top}</span><span class="long">{long}</span></button>'
    )


def length(row: Row, clip: PageClip) -> str:
    """`7.4 s`, and how much of it is on the page where that is not all."""
    whole = float(row.get("seconds") or clip.seconds)
    return f"{whole:.1f} s" + (f", first {clip.seconds:.0f} s" if whole > clip.seconds + 0.5 else "")


def numbers(row: Row, *, score: str | None = None, most: int = 6) -> str:
    """The scores in question: that one, and a few that matter everywhere."""
    names = [name for name in dict.fromkeys((score, *ON_CARDS)) if name and row.get(name) is not None][:most]
    parts = []
    for name in names:
        label, unit = name_of(name)
        unit = f" {unit}" if unit in SHORT_UNITS else ""
        parts.append(f"<span>{text(ON_CARDS.get(name, label))} <b>{short(float(row[name]))}</b>{unit}</span>")
    return " ".join(parts)


def place(row: Row) -> str:
    """Where the clip comes from, and who speaks which language."""
    voice = " ".join(str(part) for part in (row.get("language"), row.get("speaker")) if part)
    changed = f", {row['enhanced']}" if row.get("enhanced") not in (None, "no") else ""
    if row.get("rate_hz") and row.get("start_sample") is not None:
        begin, end = row["start_sample"] / row["rate_hz"], row["end_sample"] / row["rate_hz"]
        return f"{row['recording']} {begin:.2f}-{end:.2f} s {voice}{changed}"
    return f"{row['recording']} {voice}{changed}"


def everything(row: Row) -> str:
    """All that is known of a clip, for whoever asks."""
    told = {"key": row["key"], "license": row.get("license"), "source": row.get("source")}
    told |= {name: value for name, value in row.items() if name not in NOT_ON_CARDS}
    lines = []
    for name, value in told.items():
        if value is None or value == "" or value == []:
            continue
        shown = short(value) if isinstance(value, float) else "; ".join(value) if isinstance(value, list) else value
        lines.append(f"<dt>{text(name)}</dt><dd>{text(shown)}</dd>")
    return "".join(lines)


def text(value: object) -> str:
    """Safe inside HTML: names and transcripts come from anywhere."""
    return html.escape(str(value), quote=True)


def hours_told(hours: float) -> str:
    """As `duration`, and nothing for none."""
    return duration(hours) if hours > 0 else ""
