"""FLEURS: read sentences in 102 languages, for evaluation. Tables and compressed tars, unpacked folders, or parquet.

    data/en_us/test.tsv                      id, file, raw transcript, transcript, characters, samples, gender
    data/en_us/audio/test.tar.gz             test/10004088536354799741.wav
    en_us/test/10004088536354799741.wav      beside metadata/en_us/test.tsv, as lhotse unpacks it
Layout: huggingface.co/datasets/google/fleurs (data/<language>/), github.com/lhotse-speech/lhotse,
lhotse/recipes/fleurs.py. The raw transcript has case and punctuation, and is taken. All parts count as evaluation: the
manifest may name the ones that are not (`splits_for_training: [train]`).
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from infra.manifest import Manifest
from infra.workflow.node import Refused
from pipelines.readers.parquet import of_table
from pipelines.readers.webdataset import of_tar
from pipelines.reading.columns import code_of
from pipelines.reading.layouts import faulty, lines_of, listing, of_file, root_at
from pipelines.row import Recording

PARTS = ("train", "dev", "test")
RATE_HZ = 16000
LANGUAGES = {"cmn_hans_cn": "zh", "yue_hant_hk": "yue", "fil_ph": "fil", "nb_no": "nb"}


class Config(Manifest):
    languages: list[str] = []
    """As the folders are called (`en_us`); all by default."""


def recordings(cfg: Config, root: Path) -> Iterator[Recording]:
    """Every row of every table, as part of an evaluation set.

    Raises: Refused
    """
    root = root_at(root, what="FLEURS")
    found = False
    for name in listing(root, ".tsv"):
        folder, _, base = name.rpartition("/")
        language, part = folder.rpartition("/")[2] or root.name, base.removesuffix(".tsv")
        if part not in PARTS or (cfg.languages and language not in cfg.languages):
            continue
        found = True
        yield from (replace(made, evaluation=True) for made in of_part(root, folder, language=language, part=part))
    for name in [] if found else listing(root, ".parquet"):
        language = f"{root.name}/{name}".split("/")[-2]
        if not cfg.languages or language in cfg.languages:
            found = True
            for made in of_table(root, name, language=tag(language), evaluation=True):
                yield replace(made, text=made.extra.get("raw_transcription") or made.text)
    if not found:
        raise Refused(f"{root}: no <language>/test.tsv and no .parquet of FLEURS in it")


def of_part(root: Path, folder: str, *, language: str, part: str) -> Iterator[Recording]:
    """The recordings of one table, in the tar beside it or in folders."""
    rows = {str(row["file"]): row for row in rows_of(root / folder / f"{part}.tsv")}
    tar = f"{folder}/audio/{part}.tar.gz".lstrip("/")
    if (root / tar).is_file():
        for made in of_tar(root, tar, need_texts=False, split=part, language=tag(language)):
            row = rows.pop(made.name.rpartition("/")[2], None)
            if row is None and made.fault is None:
                made = replace(made, fault="failed:missing_pair: no row in the table")
            yield replace(made, **facts_of(row)) if row else made
        for file in rows:
            yield faulty(f"{tar}/{file}", "failed:missing_pair: the tar has no such file")
        return
    for file, row in rows.items():
        choices = [f"{folder}/audio/{part}/{file}", f"{folder}/{part}/{file}", f"{language}/{part}/{file}"]
        place = next((place for place in choices if (root / place).is_file()), choices[0])
        yield replace(of_file(root, place, split=part, language=tag(language)), **facts_of(row))


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a table without a head.

    Raises: Refused
    """
    names = ("id", "file", "raw", "text", "characters", "samples", "gender")
    for line in lines_of(path):
        row = dict(zip(names, line.split("\t"), strict=False))
        if len(row) < len(names) - 1:
            raise Refused(f"{path}: a row has {len(names)} columns, but one has {len(row)}: {line[:60]!r}")
        yield row


def facts_of(row: dict[str, Any]) -> dict[str, Any]:
    """What a row says of its recording. FLEURS does not tell speakers."""
    samples = str(row.get("samples", ""))
    seconds = int(samples) / RATE_HZ if samples.isdecimal() and len(samples) < 12 else None
    extra = {"id": row["id"], "gender": str(row.get("gender", "")).lower()}
    return {"text": row["raw"] or row["text"] or None, "seconds": seconds or None, "extra": extra}


def tag(language: str) -> str | None:
    """`en_us` -> `en`."""
    return LANGUAGES.get(language) or code_of(language)
