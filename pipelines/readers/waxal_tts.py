"""WaxalNLP-TTS: studio speech in languages of Africa, parquet by language and part.

    data/TTS/ach/ach-train-00000-of-00003.parquet       audio, id, speaker_id, text, locale, gender
Files: the `configs` of huggingface.co/datasets/google/WaxalNLP (README.md); columns: the same card, whose earlier form
calls the text `transcription`. Languages are ISO 639-3 codes, and the folder's name where `locale` says nothing.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from infra.manifest import Manifest
from infra.workflow.node import Refused
from pipelines.readers.parquet import of_table
from pipelines.reading.columns import code_of
from pipelines.reading.layouts import listing, root_at
from pipelines.row import Recording


class Config(Manifest):
    languages: list[str] = []
    """ISO 639-3 codes, as the folders are called; all by default."""


def recordings(cfg: Config, root: Path) -> Iterator[Recording]:
    """Every row of the TTS tables; `validation` and `test` are evaluation sets. Tables of ASR are left alone.

    Raises: Refused
    """
    root = root_at(root, what="WaxalNLP")
    found = False
    for name in listing(root, ".parquet"):
        folders = f"{root.name}/{name}".split("/")
        language = folders[-2].lower()
        if "ASR" in folders or (cfg.languages and language not in cfg.languages):
            continue
        found = True
        for made in of_table(root, name):
            yield made if made.language else replace(made, language=code_of(language))
    if not found:
        raise Refused(f"{root}: no data/TTS/<language>/*.parquet of WaxalNLP in it")
