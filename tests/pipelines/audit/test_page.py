"""The audit page: whole, offline, escaped, within its size, and about this corpus."""

import html.parser
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.cli import main
from pipelines.audit import sheets, write_audit
from pipelines.packing.members import flac_of
from tests.pipelines.audit.corpora import build, fate, segment, tone, twelve


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("corpus"), twelve())


def sound_of(row: Mapping[str, Any]) -> bytes | None:
    return flac_of(tone(1), rate_hz=16000)


class Links(html.parser.HTMLParser):
    """What a page refers to, its tags, and its words."""

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


def data_of(text: str) -> dict[str, Any]:
    """What the page's script is given."""
    found: dict[str, Any] = json.loads(text.split("const DATA = ", 1)[1].split(";\n", 1)[0])
    return found


def test_the_page_needs_nothing_from_elsewhere(corpus: Path) -> None:
    text, links = page_of(corpus)
    assert all(item.startswith(("data:", "#")) for item in links.refers)
    for word in ("http://", "https://", "localStorage", "sessionStorage", "import(", "fetch("):
        assert word not in text
    assert links.tags.count("script") == 1, "a transcript must not become code"
    assert text.count("</script") == 1, "nor end it"
    assert any("alert('x')" in word for word in links.words), "it is shown as text"


def test_the_page_tells_this_corpus(corpus: Path) -> None:
    _, links = page_of(corpus)
    words = " ".join(links.words)
    card = json.loads((corpus / "corpus.json").read_text())
    for told in (f"@{card['digest']}", "CC0-1.0", "6 of 12", "broken.wav", "decode: junk <b>", "mos: its value",
                 "just below 2 (mos in keep)", "just above 3000 (bandwidth in clean)", "it adds up", "a desk",
                 "probe > segment > mos", "The worst that is kept, by quality, overall"):  # fmt: skip
        assert told in words, told


def test_each_sound_is_carried_once_and_plays_where_it_is_shown(corpus: Path) -> None:
    text, links = page_of(corpus)
    data = data_of(text)
    shown = text.count("data-clip=")
    assert shown > len(data["sounds"]) == 12
    assert data["sounds"].keys() == data["pictures"].keys()
    assert all(sound.startswith("data:audio/") for sound in data["sounds"].values())
    assert shown == links.tags.count("article") == text.count("data-picture=")
    assert {clip["key"] for clip in data["sample"]} == {f"key{number:023d}" for number in range(6, 12)}


def test_clips_without_a_sound_are_left_out(corpus: Path) -> None:
    path = write_audit(corpus, sound_of=lambda row: sound_of(row) if row["key"].endswith("7") else None)
    text = path.read_text(encoding="utf-8")
    assert len(data_of(text)["sounds"]) == 1
    assert set(text.split('data-clip="')[1:]) != set()
    assert all(part.startswith(f"key{7:023d}") for part in text.split('data-clip="')[1:])
    none = write_audit(corpus, sound_of=lambda row: None).read_text(encoding="utf-8")
    assert data_of(none)["sample"] == []


def test_the_page_is_the_same_every_time(corpus: Path) -> None:
    assert page_of(corpus)[0] == page_of(corpus)[0]


def test_a_large_corpus_makes_no_larger_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheets, "MAX_BYTES", 3_400_000)
    noise = np.random.default_rng(0).normal(0, 0.1, 4 * 16000).astype(np.float32)
    rows = []
    for number in range(500):
        facts: dict[str, Any] = {
            "mos_overall": number / 150,
            "seconds": 4.0,
            "bandwidth_hz": float(number * 20),
            "source": f"s{number}",
        }
        rows.append(fate(segment(number, **facts), *(["mos"] if number < 250 else [])))
    corpus = build(tmp_path, rows)
    text = write_audit(corpus, sound_of=lambda row: flac_of(noise, rate_hz=16000)).read_text(encoding="utf-8")
    assert 153 <= len(data_of(text)["sounds"]) < 260
    assert len(text.encode()) < 3_400_000


def test_columns_that_the_page_was_never_told_of_are_drawn_and_missing_ones_are_not_missed(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    corpus = build(tmp_path, twelve())
    table = parquet.read_table(corpus / "ledger.parquet")
    table = table.drop_columns(["mos_overall", "speaker", "caption_conflicts", "heard_cer", "given_language"])
    value = pyarrow.array([None, *[number / 4 for number in range(1, table.num_rows)]])
    table = table.append_column("warble_db", value)
    parquet.write_table(table.append_column("said", [["calm"]] * table.num_rows), corpus / "ledger.parquet")
    text, links = page_of(corpus)
    assert "warble_db" in data_of(text)["charts"]
    assert "mos_overall" not in data_of(text)["charts"]
    words = " ".join(links.words)
    assert "warble db" in words
    assert "calm" in words


def test_reports_that_lie_beside_the_corpus_are_shown(tmp_path: Path) -> None:
    corpus = build(tmp_path, twelve())
    report = {"right": 3, "all": 4, "kinds": {"speech": {"right": 3, "all": 4}},
              "wrong": [{"name": "x.wav", "expect": "kept", "was": "dropped: mos"}]}  # fmt: skip
    (corpus / "truth_report.json").write_text(json.dumps(report))
    (corpus / "prediction.json").write_text(json.dumps({"sentences": ["hours kept: predicted 1, was 2"]}))
    words = " ".join(page_of(corpus)[1].words)
    assert "3 of 4 recordings whose truth is known were treated rightly" in words
    assert "hours kept: predicted 1, was 2" in words


def test_the_command_computes_the_verdict_that_the_page_exports(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = data_of(page_of(corpus)[0])
    assert data["rule"] == {"sample": 6, "allowed": 0, "whole": True, "of": 6, "limit": 0.05, "confidence": 0.95}
    told: dict[str, Any] = {"format": data["format"], "corpus": data["corpus"], "sample": 6, "allowed": 0}
    words = {clip["key"]: "good" for clip in data["sample"]}
    for bad, code, said in ((0, 0, "accepted: 6 of 6 clips judged, 0 bad"), (1, 1, "refused: 6 of 6")):
        changed = {**words, **dict.fromkeys(list(words)[:bad], "bad")}
        (tmp_path / "v.json").write_text(json.dumps({**told, "verdicts": changed}))
        assert main(["corpus", "audit", str(corpus), "--verdicts", str(tmp_path / "v.json")]) == code
        assert said in capsys.readouterr().out
    (tmp_path / "v.json").write_text(json.dumps({**told, "corpus": "other@0", "verdicts": words}))
    assert main(["corpus", "audit", str(corpus), "--verdicts", str(tmp_path / "v.json")]) == 1
    assert "these verdicts are of other@0, but the corpus is small@" in capsys.readouterr().err


def test_the_command_writes_the_page_anew_from_the_shards(corpus: Path, tmp_path: Path) -> None:
    assert main(["corpus", "audit", str(corpus), "--page", str(tmp_path / "page.html")]) == 0
    assert len(data_of((tmp_path / "page.html").read_text())["sounds"]) == 6
