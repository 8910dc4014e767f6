"""AISHELL-3: Mandarin of 218 speakers at 44.1 kHz; one table a part, in which every character has its pinyin behind it.

    train/content.txt      SSB00050001.wav<tab>广 guang3 州 zhou1 女 nv3
    train/wav/SSB0005/SSB00050001.wav
    spk-info.txt           SSB0005<tab>C:26 - 40<tab>female<tab>south
Layout: www.openslr.org/93 and github.com/lhotse-speech/lhotse, lhotse/recipes/aishell3.py.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from infra.manifest import Manifest
from pipelines.reading.layouts import faulty, lines_of, needed, of_file, root_at
from pipelines.row import Recording

PINYIN = re.compile(r"[a-z:]+[0-9]")
SPEAKER_CHARS = 7


class Config(Manifest):
    pass


def recordings(cfg: Config, root: Path) -> Iterator[Recording]:
    """Every row of the tables of `train` and `test`; `test` is an evaluation set.

    Raises: Refused
    """
    root = root_at(root, what="AISHELL-3")
    genders = genders_of(root / "spk-info.txt")
    parts = [part for part in ("train", "test") if (root / part).is_dir()] or ["train"]
    for part in parts:
        for line in lines_of(needed(root, f"{part}/content.txt", what="AISHELL-3")):
            file, tab, words = line.partition("\t")
            speaker = file[:SPEAKER_CHARS]
            if not tab:
                yield faulty(f"{part}/{file}", "failed:metadata: its line of content.txt has no tab")
                continue
            text, pinyin = apart(words)
            extra = {"pinyin": pinyin, "gender": genders.get(speaker, "")}
            name = f"{part}/wav/{speaker}/{file}"
            yield of_file(root, name, text=text, speaker=speaker, language="zh", split=part, extra=extra)


def apart(words: str) -> tuple[str, str]:
    """`广 guang3 州 zhou1` -> `广州`, `guang3 zhou1`: every other word; if one is missing, what looks like it."""
    parts = words.split()
    if len(parts) % 2 == 0 and not any(PINYIN.fullmatch(part) for part in parts[::2]):
        return "".join(parts[::2]), " ".join(parts[1::2])
    text = "".join(part for part in parts if not PINYIN.fullmatch(part))
    return text, " ".join(part for part in parts if PINYIN.fullmatch(part))


def genders_of(path: Path) -> dict[str, str]:
    """Speaker -> gender, where the table is there."""
    rows = [line.split("\t") for line in lines_of(path)] if path.is_file() else []
    return {row[0].strip(): row[2].strip() for row in rows if len(row) > 2 and not row[0].startswith("#")}
