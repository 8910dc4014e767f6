"""Auto-ACD: captions of sounds in AudioSet and VGGSound. The corpus holds no sound: captions meet clips that you have.

    train.csv, test.csv        youtube_id,caption
    audio/...                  your clips: Y<id>.wav, <id>.flac, <id>_30.000.wav, <id>_000030.mp4
Columns and names of clips: huggingface.co/datasets/Loie/Auto-ACD (train.csv, test.csv), and a public recipe that joins
them to the AudioSet clips of WavCaps (prepare_autoacd.py: an id is looked up as it is, with `Y` before it, and without
the dashes that it begins with). A clip's rights are those of whoever uploaded the video.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from infra.manifest import Manifest
from infra.workflow.node import Refused
from pipelines.readers.folder import SUFFIXES, rows_of
from pipelines.reading.columns import transcript
from pipelines.reading.layouts import faulty, listing, of_file, root_at
from pipelines.row import Recording

CLIP = re.compile(r"Y?(?P<id>[\w-]{11})(_\d+(\.\d+)?)?(_\d+(\.\d+)?)?")
TABLES = ("train", "test")


class Config(Manifest):
    audio: str = "audio"
    """Folder below the root with the clips."""


def recordings(cfg: Config, root: Path) -> Iterator[Recording]:
    """Every clip that has a caption. Captions without a clip become one row a table, which says how many they are.

    Raises: Refused
    """
    root = root_at(root, what="Auto-ACD")
    names = list(listing(root, *SUFFIXES, under=cfg.audio))
    clips = {key: name for name in names for key in ids_of(Path(name).stem)} | {Path(name).stem: name for name in names}
    found = False
    for part in TABLES:
        if not (root / f"{part}.csv").is_file():
            continue
        found = True
        rows = without = 0
        used: set[str] = set()
        for row in rows_of(root / f"{part}.csv"):
            rows += 1
            key, caption = str(row.get("youtube_id") or "").strip(), transcript(str(row.get("caption") or ""))[0]
            forms = (key, key.removeprefix("Y"), key.lstrip("-"), *ids_of(key))
            name = next((clips[form] for form in forms if form in clips), None)
            if name is None or caption is None:
                without += 1
            elif name not in used:
                used.add(name)
                yield of_clip(root, name, caption=caption, key=key, split=part)
        if without:
            yield faulty(f"{part}.csv", f"dropped:no_audio: {without} of {rows} captions have no clip in {cfg.audio}/")
    if not found:
        raise Refused(f"{root}: no train.csv or test.csv of Auto-ACD in it")


def of_clip(root: Path, name: str, *, caption: str, key: str, split: str) -> Recording:
    """A clip with its caption. It has no text: what is heard need not be speech."""
    match = CLIP.fullmatch(key)
    source = f"https://www.youtube.com/watch?v={match['id'] if match else key}"
    extra = {"caption": caption, "youtube_id": key}
    return of_file(root, name, split=split, source=source, license="LicenseRef-third-party", extra=extra)


def ids_of(stem: str) -> list[str]:
    """The ids that a clip of this name may have."""
    match = CLIP.fullmatch(stem)
    return [match["id"], match["id"].lstrip("-")] if match else [stem]
