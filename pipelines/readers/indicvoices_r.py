"""IndicVoices-R: restored speech in 22 languages of India; parquet of Hugging Face, or the unpacked tar of a language.

    Hindi/train-00000-of-00047.parquet       audio, text, lang, verbatim, normalized, speaker_id, gender, ..., snr, cer
    Hindi/metadata_train.json                the same fields, one JSON a line, with `filename` (or `audio_filepath`)
    Hindi/wavs/...
Fields: github.com/AI4Bharat/IndicVoices-R, README.md; the tables of the tars: its VoiceCraft/datasets/ivr/
make_manifest.py. `text` is the normalized transcript. The `test` part is the IV-R benchmark.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from infra.manifest import Manifest
from infra.workflow.node import Refused
from pipelines.readers.parquet import of_table
from pipelines.reading.columns import code_of
from pipelines.reading.layouts import json_lines, listing, of_file, root_at, split_of
from pipelines.row import Recording

LANGUAGES = {
    "bodo": "brx", "dogri": "doi", "kashmiri": "ks", "konkani": "kok", "maithili": "mai", "manipuri": "mni",
    "santali": "sat",
}  # fmt: skip
"""Names of folders that are no English names elsewhere -> codes."""


class Config(Manifest):
    pass


def recordings(cfg: Config, root: Path) -> Iterator[Recording]:
    """Every row of the tables under `root`.

    Raises: Refused
    """
    root = root_at(root, what="IndicVoices-R")
    found = False
    for name in listing(root, ".parquet"):
        found = True
        for made in of_table(root, name):
            yield made if made.language else replace(made, language=language_of(root, name))
    for name in [] if found else listing(root, ".json", ".jsonl"):
        if not name.rpartition("/")[2].startswith("metadata"):
            continue
        found = True
        for row in json_lines(root / name):
            file = str(row.pop("filename", None) or row.pop("audio_filepath", ""))
            folder = name.rpartition("/")[0]
            choices = [f"{folder}/{file}", f"{folder}/wavs/{file.rpartition('/')[2]}", file]
            place = next((place for place in choices if (root / place).is_file()), choices[0])
            made = of_file(root, place.lstrip("/") if file else name, row, split=split_of(name))
            yield made if made.language else replace(made, language=language_of(root, name))
    if not found:
        raise Refused(f"{root}: neither .parquet nor metadata_train.json of IndicVoices-R in it")


def language_of(root: Path, name: str) -> str | None:
    """By the name of the folder: `Hindi`."""
    folder = f"{root.name}/{name}".split("/")[-2].lower()
    return LANGUAGES.get(folder) or code_of(folder)
