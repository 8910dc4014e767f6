"""The data card: the hub's header, tables that add up, and nothing that was not counted."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.cli import main
from pipelines.card import card_of, header, settings_told, write_card
from pipelines.documented import documented
from tests.pipelines.audit.corpora import build, fate, segment, twelve


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = twelve()
    rows += [fate(segment(20, license="CC-BY-NC-4.0", source="a | street", text=None, text_by="untranscribed"))]
    rows += [fate(segment(21, text_by="whisper", caption_conflicts=("pitch: x",)))]
    return build(tmp_path_factory.mktemp("corpus"), rows)


def test_the_header_is_what_the_hub_reads(corpus: Path) -> None:
    text = write_card(corpus).read_text(encoding="utf-8")
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["language"] == ["de", "en"]
    assert head["license"] == "other", "two licenses are not one"
    assert head["size_categories"] == ["n<1K"]
    assert list(corpus.glob(head["configs"][0]["data_files"][0]["path"])), "the shards are where it says"


@pytest.mark.parametrize(
    ("licenses", "told"),
    [(["CC BY 4.0"], "cc-by-4.0"), (["CC0-1.0", "CC0 1.0 Universal"], "cc0-1.0"), (["my own"], "other"), ([], "other")],
)
def test_one_license_is_named_as_the_hub_names_it(licenses: list[str], told: str) -> None:
    card: dict[str, Any] = {
        "name": "x",
        "languages": ["en", "unknown", "zh"],
        "licenses": licenses,
        "samples": 5_000_000,
    }
    head = yaml.safe_load(header(card).split("---\n")[1])
    assert (head["license"], head["language"], head["size_categories"]) == (told, ["en", "zh"], ["1M<n<10M"])
    assert head.get("license_name") == ((licenses or ["several, see below"])[0] if told == "other" else None)


def test_the_card_tells_what_was_counted(corpus: Path) -> None:
    text = card_of(corpus)
    for told in (
        "to &lt;test>",
        "| a \\| street | CC-BY-NC-4.0 | 1.0 s | 1.0 s |",
        "**by nc, which forbids commercial**",
        "| `mos` | `mos_overall` of at least 2 | keep | all |",
        "| mos | dropped | 6 | 6.0 s | 6.0 s | 4.0 s |",
        "- 12.5% of the kept audio has no text.",
        "- 12.5% of the kept audio has a text by the recognizer `whisper`, not by people.",
        "- 12.5% of the kept audio has a caption that the measures deny.",
        "- Audio by language: en 62.5%, de 37.5%.",
        "| `clean` | 8.0 s |",
    ):
        assert told in text, told
    assert "<script>" not in text


def test_every_field_is_in_the_card_with_who_sets_it(corpus: Path) -> None:
    told = {one.name: one for one in documented()}
    assert (told["caption_tags"].type, told["caption_tags"].by) == ("tuple[str, ...]", "caption")
    assert told["key"].meaning.startswith("26 letters and digits")
    assert set(told) == set(segment(0))
    assert [one.name for one in told.values() if one.by and not one.meaning] == []
    assert "| `pitch_hz` | float | caption |" in card_of(corpus)


def test_settings_are_told_where_they_differ_and_without_places() -> None:
    entry = {"name": "loudness", "settings": {"noise_percentile": 10.0}}
    assert settings_told(entry) == ""
    endpoint = {"url": "https://host/v1", "key_file": "/run/secret", "folder": "/captions"}
    told = settings_told({"name": "caption", "settings": {"endpoint": endpoint}})
    assert told == '`{"endpoint": {"url": "https://host/v1"}}`'


def test_the_command_prints_the_card(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corpus", "card", str(corpus)]) == 0
    assert capsys.readouterr().out == card_of(corpus)
