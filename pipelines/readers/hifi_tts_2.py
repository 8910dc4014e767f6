"""HiFiTTS-2: tables of utterances, whose sound everyone fetches from LibriVox; chapters that are gone are counted.

    manifest_22khz.json, or manifest_filtered_22khz.json (without what could not be fetched)     one JSON a line:
        {"audio_filepath", "speaker", "set", "duration", "bandwidth", "wer", "cer", "text", "normalized_text", ...}
    audio_22khz/<audio_filepath>             the utterances, as the downloader cuts them
    errors_22khz.json                        chapters that could not be fetched, one JSON a line:
        {"url", "chapter_filepath", "error_code", "utterances": [{"audio_filepath", "offset", "duration"}]}
Layout: github.com/NVIDIA/NeMo-speech-data-processor, sdp/processors/datasets/hifitts2/download_dataset.py and
dataset_configs/english/hifitts2/config_22khz.yaml; arXiv 2506.04152. The fields `set`, `bandwidth`, `wer` and `cer` are
from the paper and were not seen in a file. The 44 kHz table is a part of the 22 kHz one: one of both is read.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from infra.manifest import Manifest
from pipelines.reading.layouts import faulty, json_lines, needed, of_file, root_at
from pipelines.row import Recording


class Config(Manifest):
    rate: Literal["22khz", "44khz"] = "22khz"
    """Which table: the second is a part of the first, with more bandwidth."""


def recordings(cfg: Config, root: Path) -> Iterator[Recording]:
    """Every utterance of the table. One whose chapter LibriVox no longer has is dropped with that reason.

    Raises: Refused
    """
    root = root_at(root, what="HiFiTTS-2")
    table = root / f"manifest_filtered_{cfg.rate}.json"
    if not table.is_file():
        table = needed(root, f"manifest_{cfg.rate}.json", what="HiFiTTS-2")
    gone = {name for row in maybe(root / f"errors_{cfg.rate}.json") for name in names_in(row)}
    for row in json_lines(table):
        name = str(row.pop("audio_filepath", ""))
        path = f"audio_{cfg.rate}/{name}"
        if name in gone and not (root / path).is_file():
            yield faulty(path, "dropped:link_rot: its chapter could not be fetched from LibriVox")
            continue
        text = row.pop("text", None) or row.get("normalized_text")
        yield of_file(root, path, row, text=str(text) if text else None, language="en", extra={"rate": cfg.rate})


def names_in(row: dict[str, Any]) -> list[str]:
    """The utterances of a chapter."""
    utterances = row.get("utterances")
    return [
        str(item.get("audio_filepath"))
        for item in (utterances if isinstance(utterances, list) else [])
        if isinstance(item, dict)
    ]


def maybe(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a table that need not be there."""
    if path.is_file():
        yield from json_lines(path)
