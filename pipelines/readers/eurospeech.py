"""EuroSpeech: debates of 22 parliaments, parquet by country; every country has a license of its own.

    italy/train-00000-of-00123.parquet       audio, key, video_id, duration_seconds, human_transcript, cer, wer, ...
Columns: arXiv 2510.00514, and the README of an early part, huggingface.co/datasets/sam8000/lithuania (country,
language, start_seconds, end_seconds, asr_transcript, human_transcript, cer, wer). Folders: huggingface.co/datasets/
disco-eth/EuroSpeech. Licenses: that card's table, of which five were read (see `LICENSES`); the rest stays per
country, which allows nothing until somebody has read it. Transcripts are not verbatim; `cer` tells how far they are.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from infra.manifest import Manifest
from infra.workflow.node import Refused
from pipelines.readers.parquet import of_table
from pipelines.reading.layouts import listing, root_at
from pipelines.row import Recording

LICENSES = {
    "italy": "CC-BY-4.0", "uk": "OGL-UK-3.0", "bulgaria": "CC-BY-2.5", "france": "etalab-2.0", "norway": "NLOD-2.0",
}  # fmt: skip
UNREAD = "LicenseRef-per-country"
LANGUAGES = {
    "bosnia-herzegovina": "bs", "bulgaria": "bg", "croatia": "hr", "denmark": "da", "estonia": "et", "finland": "fi",
    "france": "fr", "germany": "de", "greece": "el", "iceland": "is", "italy": "it", "latvia": "lv", "lithuania": "lt",
    "malta": "mt", "norway": "no", "portugal": "pt", "serbia": "sr", "slovakia": "sk", "slovenia": "sl", "sweden": "sv",
    "uk": "en", "ukraine": "uk",
}  # fmt: skip


class Config(Manifest):
    countries: list[str] = []
    """Folders that are read; all by default."""
    licenses: dict[str, str] = {}
    """Country -> license, for those that you have read yourself."""
    max_cer: float | None = None
    """Rows whose transcript differs more from what a recognizer heard are dropped."""


def recordings(cfg: Config, root: Path) -> Iterator[Recording]:
    """Every row of every country; `validation` and `test` are evaluation sets.

    Raises: Refused
    """
    root = root_at(root, what="EuroSpeech")
    found = False
    for name in listing(root, ".parquet"):
        country = country_of(root, name)
        if cfg.countries and country not in cfg.countries:
            continue
        found = True
        license = {**LICENSES, **cfg.licenses}.get(country, UNREAD)
        for made in of_table(root, name, license=license):
            text = made.extra.get("human_transcript")
            told = replace(made, text=made.text or text, language=made.language or LANGUAGES.get(country))
            yield too_far(told, cfg.max_cer)
    if not found:
        raise Refused(f"{root}: no <country>/*.parquet of EuroSpeech in it")


def country_of(root: Path, name: str) -> str:
    """The folder that a table lies in, without what comes behind its name: `lithuania_0.06_cer_filtered`."""
    folder = f"{root.name}/{name}".split("/")[-2].lower()
    return next((country for country in LANGUAGES if folder == country or folder.startswith(f"{country}_")), folder)


def too_far(recording: Recording, max_cer: float | None) -> Recording:
    """The recording; with a fault, where its transcript is too far from what was heard."""
    cer = recording.extra.get("cer")
    if max_cer is None or not isinstance(cer, float) or cer <= max_cer or recording.fault:
        return recording
    return replace(recording, fault=f"dropped:transcript: the corpus gives it a character error rate of {cer:.2f}")
