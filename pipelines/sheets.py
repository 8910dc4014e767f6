"""The listening sheets of an audit page: which clips to show, and a card for each, with its picture and its player."""

import html
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.pictures import data_uri, mp3, short, spectrogram

Row = Mapping[str, Any]

MAX_BYTES = 14_000_000
LONGEST_SECONDS = 12.0
"""Of a clip's sound on the page; the rest is cut off."""
SCORES = {
    "seconds": ("Duration", "s"),
    "speech_ratio": ("Share of speech", ""),
    "bandwidth_hz": ("Bandwidth", "Hz"),
    "loudness_lufs": ("Loudness", "LUFS"),
    "snr_db": ("Speech over background", "dB"),
    "clipped_ratio": ("Share of clipped samples", ""),
    "mos_overall": ("Quality, overall", "MOS"),
    "mos_background": ("Quality of the background", "MOS"),
    "heard_cer": ("Heard against given text", "CER"),
    "chars_per_second": ("Speaking rate", "characters/s"),
    "speaker_cosine_mean": ("Windows to the mean voice", "cosine"),
    "speaker_split_gain": ("Change of voice", "distance"),
    "pitch_hz": ("Pitch", "Hz"),
}
"""Score -> its name and unit: what is drawn, in this order."""
ON_CARDS = {
    "mos_overall": "MOS",
    "bandwidth_hz": "band Hz",
    "snr_db": "SNR dB",
    "heard_cer": "CER",
    "speaker_split_gain": "voice change",
    "loudness_lufs": "LUFS",
}


@dataclass(frozen=True)
class Threshold:
    """A limit that a filter of the manifest puts on a score."""

    filter: str
    score: str
    value: float
    place: str
    """`keep`, or the tier."""


@dataclass
class Page:
    """What is written so far, and the sounds and pictures that it needs: each once."""

    corpus: Path
    sound_of: Callable[[str], bytes | None]
    parts: list[str] = field(default_factory=list)
    sounds: dict[str, str] = field(default_factory=dict)
    pictures: dict[str, str] = field(default_factory=dict)
    bytes: int = 0

    def add(self, part: str) -> None:
        """A part of the body."""
        self.parts.append(part)
        self.bytes += len(part.encode())

    def load(self, row: Row) -> bool:
        """Bring a clip onto the page; False where there is no sound, or no room."""
        key = str(row["key"])
        if key in self.sounds:
            return True
        data = self.sound_of(key) if self.bytes < MAX_BYTES else None
        if data is None:
            return False
        import soundfile

        wave_S, rate_hz = soundfile.read(io.BytesIO(data), dtype="float32")
        wave_S = wave_S[: int(LONGEST_SECONDS * rate_hz)]
        self.sounds[key] = data_uri("audio/mpeg", mp3(wave_S, rate_hz=rate_hz))
        self.pictures[key] = data_uri("image/png", spectrogram(wave_S, rate_hz=rate_hz))
        self.bytes += len(self.sounds[key]) + len(self.pictures[key])
        return True


def sheets(page: Page, rows: Sequence[Row], limits: Sequence[Threshold], *, samples: int, each: int) -> None:
    """Clips to listen to: the rejected first into the budget, but shown after the kept."""
    segments = sorted((row for row in rows if row["key"]), key=lambda row: str(row["key"]))
    kept = [row for row in segments if row["status"] == "kept"]
    by_reason: dict[str, list[Row]] = defaultdict(list)
    for row in segments:
        if row["status"] != "kept":
            by_reason[row["reasons"][0]].append(row)
    page.add('<h2 id="kept">Kept</h2><p>Drawn evenly from languages and tiers. Press play; one sounds at a time.</p>')
    page.add(sheet(page, stratified(kept, count=samples)))
    page.add(
        '<h2 id="limits">At the limits</h2><p>The clips that a slightly other limit would have decided otherwise: '
        "the nearest on each side, where there are any on both. Is what was lost worth having?</p>"
    )
    for limit in limits:
        scored = [row for row in segments if row[limit.score] is not None]
        scored.sort(key=lambda row, score=limit.score: (float(row[score]), str(row["key"])))  # type: ignore[misc]
        below = [row for row in scored if row[limit.score] < limit.value][-each:]
        above = [row for row in scored if row[limit.score] >= limit.value][:each]
        if not below or not above:
            continue
        for side, found in (("below", below), ("above", above)):
            shown = sheet(page, found, score=limit.score)
            if shown:
                label = f"{SCORES[limit.score][0]}, just {side} {short(limit.value)} ({limit.filter} in {limit.place})"
                page.add(f"<h3>{text(label)}</h3>{shown}")
    page.add('<h2 id="rejected">Rejected</h2><p>Under the first reason, with the value that decided.</p>')
    for reason, found in sorted(by_reason.items(), key=lambda item: -len(item[1])):
        shown = sheet(page, found[: 2 * each])
        if shown:
            page.add(f"<h3>{text(reason.replace('_', ' '))} ({len(found)})</h3>{shown}")
    if not by_reason:
        page.add("<p>No segment was rejected.</p>")


def stratified(rows: Sequence[Row], *, count: int) -> list[Row]:
    """Up to `count` rows, in turn from each language and tier; keys are hashes, so their order is as good as chance."""
    strata: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        strata[row["language"] or "unknown", row["tier"] or ""].append(row)
    queues = [strata[name] for name in sorted(strata)]
    turns = [queue[turn] for turn in range(max(map(len, queues), default=0)) for queue in queues if turn < len(queue)]
    return sorted(turns[:count], key=lambda row: (row["language"] or "unknown", row["tier"] or "", str(row["key"])))


def sheet(page: Page, rows: Iterable[Row], *, score: str | None = None) -> str:
    """The cards of those rows that have a sound; nothing where none has."""
    cards = [card_of(page, row, score=score) for row in rows if page.load(row)]
    return f'<div class="sheet">{"".join(cards)}</div>' if cards else ""


def card_of(page: Page, row: Row, *, score: str | None) -> str:
    """A clip: picture, player, text, why, and its numbers; the score in question first."""
    key = str(row["key"])
    said = (
        f'<div class="text">{text(row["text"])}</div>' if row["text"] else '<div class="text none">untranscribed</div>'
    )
    heard = f'<div class="heard">heard: {text(row["heard_text"])}</div>' if row["heard_text"] else ""
    why = f"tier {row['tier']}" if row["status"] == "kept" else str(row["reason"])
    names = [name for name in (score, *ON_CARDS) if name and row.get(name) is not None]
    numbers = [f"{text(ON_CARDS.get(n, SCORES[n][0]))} <b>{short(float(row[n]))}</b>" for n in dict.fromkeys(names)]
    voice = " ".join(str(part) for part in (row["language"], row["speaker"]) if part)
    changed = f", {row['enhanced']}" if row["enhanced"] not in (None, "no") else ""
    place = f"{row['recording']} {row['start_sample'] / row['rate_hz']:.2f}-{row['end_sample'] / row['rate_hz']:.2f} s"
    top_hz = f"{row['rate_hz'] / 2000:g} kHz at the top"
    return (
        f'<div class="clip {row["status"]}"><img alt="spectrogram" title="{top_hz}" src="{page.pictures[key]}">'
        f'<audio controls preload="metadata" data-clip="{key}"></audio>{said}{heard}<div class="why">{text(why)}</div>'
        f'<div class="numbers">{" &middot; ".join(numbers)}</div>'
        f'<div class="name">{text(place)}<br>{text(voice)}{text(changed)}</div></div>'
    )


def text(value: object) -> str:
    """Safe inside HTML: names and transcripts come from anywhere."""
    return html.escape(str(value), quote=True)
