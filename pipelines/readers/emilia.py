"""Emilia and Emilia-YODAS: tars of MP3 and JSON by language, or the folders and tables of the first release.

    Emilia/EN/EN-B000000.tar, Emilia-YODAS/DE/DE-B000000.tar       EN_B00000_S00000_W000000.mp3, .json
    DE/DE_B00000.jsonl, DE/DE_B00000/DE_B00000_S00000/mp3/DE_B00000_S00000_W000029.mp3
A row is {id, wav, text (begins with a space), duration, speaker, language, dnsmos}; a speaker is known inside of one
source file alone. Layout: github.com/lhotse-speech/lhotse, lhotse/recipes/emilia.py; names of the tars and their two
folders: the dataset card huggingface.co/datasets/amphion/Emilia-Dataset, which also gives the two licenses.
"""

from collections.abc import Iterator
from pathlib import Path

from infra.manifest import Manifest
from infra.workflow.node import Refused
from pipelines.readers.webdataset import ARCHIVES, of_tar
from pipelines.reading.layouts import json_lines, listing, of_file, root_at
from pipelines.row import Recording

LICENSE = "CC-BY-NC-4.0 AND LicenseRef-third-party"
"""Of Emilia: its authors do not own the recordings, and pass them on for non-commercial use."""
LICENSE_YODAS = "CC-BY-4.0"


class Config(Manifest):
    under: str = ""
    """Folder below the root: `Emilia`, `Emilia-YODAS`, `Emilia/EN`; all by default."""


def recordings(cfg: Config, root: Path) -> Iterator[Recording]:
    """Every MP3 with its row; an MP3 without one, or a row without its MP3, is a failed recording.

    Raises: Refused
    """
    root = root_at(root, what="Emilia")
    found = False
    for name in listing(root, *ARCHIVES, under=cfg.under):
        found = True
        yield from of_tar(root, name, need_texts=True, license=license_of(root, name))
    for name in [] if found else listing(root, ".jsonl", under=cfg.under):
        found = True
        for row in json_lines(root / name):
            wav = f"{name.rpartition('/')[0]}/{row.pop('wav', '')}".lstrip("/")
            yield of_file(root, wav, row, license=license_of(root, name))
    if not found:
        raise Refused(f"{root / cfg.under}: neither tars nor .jsonl tables of Emilia in it")


def license_of(root: Path, name: str) -> str:
    """By the folder that a file lies in."""
    return LICENSE_YODAS if "yodas" in f"{root.name}/{name}".lower() else LICENSE
