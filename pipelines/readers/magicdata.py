"""MagicData read speech (SLR68): Mandarin of 1080 speakers at 16 kHz, one table a part; no derivatives.

    train/TRANS.txt        UtteranceID<tab>SpeakerID<tab>Transcription
    train/14_3466/14_3466_20170826171404.wav
Layout: www.openslr.org/68 and github.com/lhotse-speech/lhotse, lhotse/recipes/magicdata.py, which also names the two
recordings that are broken. [FIL] and [SPK] mark sounds that are no words.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from infra.manifest import Manifest
from infra.workflow.node import Refused
from pipelines.reading.layouts import faulty, lines_of, of_file, root_at
from pipelines.row import Recording

BROKEN = {"16_4013_20170819121429.wav", "18_1565_20170712000170.wav"}
MARKS = re.compile(r"\[\s*(FIL|SPK)\s*\]|FIL\b|SPK\b")


class Config(Manifest):
    pass


def recordings(cfg: Config, root: Path) -> Iterator[Recording]:
    """Every row of the tables of `train`, `dev` and `test`; the last two are evaluation sets.

    Raises: Refused
    """
    root = root_at(root, what="MagicData")
    parts = [part for part in ("train", "dev", "test") if (root / part / "TRANS.txt").is_file()]
    if not parts:
        raise Refused(f"{root}: no train/TRANS.txt, dev/TRANS.txt or test/TRANS.txt in it, as in MagicData")
    for part in parts:
        for line in lines_of(root / part / "TRANS.txt"):
            file, *rest = line.split(maxsplit=2)
            if file.startswith("UtteranceID"):
                continue
            if len(rest) < 2 or file in BROKEN:
                why = "known to be broken" if file in BROKEN else "its line of TRANS.txt has no text"
                yield faulty(f"{part}/{file}", f"failed:metadata: {why}")
                continue
            speaker, text = rest
            name = f"{part}/{speaker}/{file}"
            yield of_file(root, name, text=MARKS.sub(" ", text), speaker=speaker, language="zh", split=part)
