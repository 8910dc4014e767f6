"""Hi-Fi TTS: FLAC at 44.1 kHz and one table a speaker, quality and part.

    92_manifest_clean_train.json       {"audio_filepath": "audio/92_clean/.../x.flac", "text", "duration",
                                        "text_no_preprocessing", "text_normalized"}, one JSON a line
Layout: www.openslr.org/109, arXiv 2104.01497, and github.com/lhotse-speech/lhotse, lhotse/recipes/hifitts.py.
`text_normalized` keeps case and punctuation, and is taken.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from infra.manifest import Manifest
from infra.workflow.node import Refused
from pipelines.reading.layouts import json_lines, listing, of_file, root_at
from pipelines.row import Recording

TABLE = re.compile(r"(?P<speaker>\d+)_manifest_(?P<quality>clean|other)_(?P<part>train|dev|test)\.json")


class Config(Manifest):
    pass


def recordings(cfg: Config, root: Path) -> Iterator[Recording]:
    """Every row of every table.

    Raises: Refused
    """
    root = root_at(root, what="Hi-Fi TTS")
    found = False
    for name in listing(root, ".json"):
        folder, _, base = name.rpartition("/")
        match = TABLE.fullmatch(base)
        if match is None:
            continue
        found = True
        for row in json_lines(root / name):
            path = f"{folder}/{row.pop('audio_filepath', '')}".lstrip("/")
            text = next(
                (row[key] for key in ("text_normalized", "text_no_preprocessing", "text") if row.get(key)), None
            )
            yield of_file(
                root, path, {"duration": row.get("duration")}, text=str(text) if text else None, language="en",
                speaker=match["speaker"], split=match["part"], extra={"quality": match["quality"]},
            )  # fmt: skip
    if not found:
        raise Refused(f"{root}: no table such as 92_manifest_clean_train.json in it, as in Hi-Fi TTS")
