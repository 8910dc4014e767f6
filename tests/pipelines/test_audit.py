"""The audit page: whole, offline, escaped, within its size, and about this corpus."""

import html.parser
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pipelines import sheets
from pipelines.audit import thresholds, write_audit
from pipelines.ledger import write_ledger
from pipelines.pictures import bounds, histogram, mp3, png, short, spectrogram
from pipelines.row import Segment, as_row
from pipelines.sheets import stratified
from pipelines.writer import Item, finish, flac_of, write_shard

MANIFEST = {
    "purpose": "to <test>",
    "transforms": [{"name": "probe"}, {"name": "mos"}],
    "keep": [{"name": "mos", "settings": {"min": 2.0}}, {"name": "edges", "settings": {}}],
    "tiers": {"clean": [{"name": "bandwidth", "settings": {"min": 7000}}]},
}
EVIL = "<script>alert('x')</script> & more"


def segment(number: int, **facts: Any) -> dict[str, Any]:
    made = Segment(
        key=f"key{number:02d}", corpus="c", recording=f"r{number}.wav", recording_sha256="0" * 64, license="CC0-1.0",
        source="a desk", start_sample=0, end_sample=16000, rate_hz=16000, channels=1, seconds=1.0, text=EVIL,
        mos_overall=number / 3, bandwidth_hz=500.0 * number, language=("en", "de")[number % 2], **facts,
    )  # fmt: skip
    return as_row(made)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Twelve segments, those below MOS 2 dropped, and a recording that failed."""
    sound = tmp_path / "sound.flac"
    sound.write_bytes(flac_of(tone(3), rate_hz=16000))
    rows, items = [], []
    for number in range(12):
        row, kept = segment(number), number >= 6
        fate = {"unit": "u", "transform": "select", "fingerprint": "f", "item_seconds": 1.0}
        why = {"status": "kept", "reason": None, "reasons": [], "tier": "clean"}
        if not kept:
            why = {
                "status": "dropped",
                "reason": f"mos: mos_overall is {number / 3:.3g}",
                "reasons": ["mos"],
                "tier": None,
            }
        rows.append({**row, **fate, **why})
        if kept:
            items.append(Item(row, "clean", sound, 0, sound.stat().st_size))
    lost = {"unit": "u", "transform": "probe", "fingerprint": "f", "status": "failed", "reason": "decode: junk <b>",
            "reasons": ["decode"], "tier": None, "item_seconds": 0.0, "recording": "broken.wav"}  # fmt: skip
    write_ledger(tmp_path / "ledger.parquet", [*rows, lost])
    hours = {"in": 12 / 3600, "kept": 6 / 3600, "dropped": 6 / 3600, "failed": 0.0}
    reason = {"status": "dropped", "items": 6, "first": 6 / 3600, "any": 6 / 3600, "only": 6 / 3600}
    facts = {
        "recordings": 13, "segments": 12, "segments_kept": 6, "hours": hours, "by_tier": {"clean": 6 / 3600},
        "by_language": {"en": {**hours}}, "by_reason": {"mos": reason}, "manifest": MANIFEST,
    }  # fmt: skip
    (tmp_path / "funnel.json").write_text(json.dumps(facts))
    finish(tmp_path, name="small", shards=[write_shard(tmp_path, 0, items)], facts={})
    return tmp_path


def tone(seconds: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    return (0.3 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * 16000)) / 16000)).astype(np.float32)


def sound_of(key: str) -> bytes | None:
    return flac_of(tone(1), rate_hz=16000)


class Links(html.parser.HTMLParser):
    """What a page refers to, and its tags."""

    def __init__(self) -> None:
        super().__init__()
        self.refers: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.refers += [value or "" for name, value in attrs if name in ("src", "href", "action", "poster")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def page_of(corpus: Path, **settings: Any) -> tuple[str, Links]:
    text = write_audit(corpus, sound_of=sound_of, **settings).read_text(encoding="utf-8")
    links = Links()
    links.feed(text)
    return text, links


def test_the_page_needs_nothing_from_elsewhere(corpus: Path) -> None:
    text, links = page_of(corpus)
    assert all(item.startswith(("data:", "#")) for item in links.refers)
    assert "http://" not in text
    assert "https://" not in text
    assert "localStorage" not in text
    assert links.tags.count("script") == 1, "a transcript must not become code"
    assert any("alert('x')" in word for word in links.words), "it is shown as text"


def test_the_page_tells_this_corpus(corpus: Path) -> None:
    text, links = page_of(corpus)
    words = " ".join(links.words)
    card = json.loads((corpus / "corpus.json").read_text())
    assert f"@{card['digest']}" in words
    assert "CC0-1.0" in words
    assert "6 of 12" in words
    assert "broken.wav" in words
    assert "decode: junk <b>" in words
    assert "mos: mos_overall is 1.67" in words
    assert "just below 2" in words


def test_each_sound_is_carried_once_and_plays_where_it_is_shown(corpus: Path) -> None:
    text, links = page_of(corpus)
    shown = text.count("data-clip=")
    sounds = json.loads(text.split("const SOUNDS = ", 1)[1].split(";\n", 1)[0])
    assert shown > len(sounds) > 0
    assert all(value.startswith("data:audio/mpeg;base64,") for value in sounds.values())
    assert shown == text.count('alt="spectrogram"')


def test_the_page_is_the_same_every_time_and_stops_at_its_size(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert page_of(corpus)[0] == page_of(corpus)[0]
    whole = len(page_of(corpus)[0])
    monkeypatch.setattr(sheets, "MAX_BYTES", 30_000)
    assert len(page_of(corpus)[0]) < min(whole, 75_000)


def test_limits_are_those_of_the_manifest_that_have_a_number() -> None:
    found = {(limit.filter, limit.score, limit.value, limit.place) for limit in thresholds(MANIFEST)}
    assert found == {("mos", "mos_overall", 2.0, "keep"), ("bandwidth", "bandwidth_hz", 7000.0, "clean")}


def test_samples_come_from_every_language() -> None:
    rows = [{"language": "en", "tier": "a", "key": f"{n:03d}"} for n in range(90)]
    rows += [{"language": "zh", "tier": "a", "key": "z1"}, {"language": None, "tier": "b", "key": "u1"}]
    drawn = stratified(rows, count=6)
    assert len(drawn) == 6
    assert {row["language"] for row in drawn} == {"en", "zh", None}


def test_sounds_and_pictures_are_what_they_claim() -> None:
    for rate_hz in (8000, 22050, 44100, 48000, 96000):
        wave = np.sin(np.arange(rate_hz * 2) * 0.05).astype(np.float32) * np.float32(0.5)
        back, found_hz = soundfile.read(io.BytesIO(mp3(wave, rate_hz=rate_hz)))
        assert len(back) / found_hz == pytest.approx(2, abs=0.1)
        assert np.abs(back).max() == pytest.approx(0.5, abs=0.1)
    image = spectrogram(tone(1), rate_hz=16000)
    assert image.startswith(b"\x89PNG")
    assert spectrogram(np.zeros(10, np.float32), rate_hz=16000).startswith(b"\x89PNG"), "shorter than a frame, silent"


def test_a_png_of_ours_reads_back_as_it_was() -> None:
    import matplotlib.image

    gray = np.arange(256, dtype=np.uint8).reshape(8, 32)
    back = matplotlib.image.imread(io.BytesIO(png(gray)), format="png")
    assert back.shape[:2] == (8, 32)
    brightness = back[..., :3].sum(axis=-1).ravel()
    assert brightness[0] < brightness[128] < brightness[255]


def test_a_histogram_counts_everything_and_marks_what_is_near() -> None:
    drawn = histogram({"kept": [1.0, 1.0, 2.0], "dropped": [5.0]}, marks={"keep 4": 4.0, "far": 1e6})
    assert "2 kept" in drawn
    assert "1 dropped" in drawn
    assert "keep 4" in drawn
    assert "far" not in drawn
    assert histogram({"kept": [], "dropped": []}, marks={"keep 4": 4.0}) == ""
    low, high = bounds(np.array([3.0, 3.0]), marks=[])
    assert low < 3 < high


@pytest.mark.parametrize(("value", "said"), [(12345.0, "12.3k"), (12.34, "12.3"), (0.084, "0.08"), (-0.5, "-0.50")])
def test_numbers_are_short(value: float, said: str) -> None:
    assert short(value) == said
