"""Multilingual LibriSpeech: read books in eight languages at 16 kHz, FLAC or Opus.

    mls_german/train/transcripts.txt         10149_10101_000000<tab>text
    mls_german/train/audio/10149/10101/10149_10101_000000.flac        (mls_german_opus: .opus)
    mls_german/metainfo.txt                  speaker | gender | part | minutes | book | title | chapter
Layout: www.openslr.org/94 and github.com/lhotse-speech/lhotse, lhotse/recipes/mls.py. Texts have neither case nor
punctuation.
"""

from collections.abc import Iterator
from pathlib import Path

from infra.manifest import Manifest
from infra.workflow.node import Refused
from pipelines.reading.columns import code_of
from pipelines.reading.layouts import faulty, lines_of, of_file, root_at
from pipelines.row import Recording

PARTS = ("train", "dev", "test")


class Config(Manifest):
    pass


def recordings(cfg: Config, root: Path) -> Iterator[Recording]:
    """Every row of the transcripts of every language under `root`, or of the language that `root` is.

    Raises: Refused
    """
    root = root_at(root, what="Multilingual LibriSpeech")
    inside = sorted(path for path in root.glob("mls_*") if path.is_dir() and "_lm_" not in path.name)
    found = False
    for folder in inside or [root]:
        language = code_of(folder.name.removeprefix("mls_").removesuffix("_opus"))
        genders = genders_of(folder / "metainfo.txt")
        for part in PARTS:
            table = folder / part / "transcripts.txt"
            if not table.is_file():
                continue
            found = True
            for line in lines_of(table):
                key, tab, text = line.partition("\t")
                speaker, _, book = key.partition("_")
                place = f"{folder.name}/" if inside else ""
                name = f"{place}{part}/audio/{speaker}/{book.partition('_')[0]}/{key}"
                if not tab or not book:
                    yield faulty(name, "failed:metadata: a line of transcripts.txt is `speaker_book_number, tab, text`")
                    continue
                kind = next((kind for kind in (".flac", ".opus") if (root / f"{name}{kind}").is_file()), ".flac")
                yield of_file(
                    root, f"{name}{kind}", text=text, speaker=speaker, language=language, split=part,
                    extra={"gender": genders.get(speaker, "")},
                )  # fmt: skip
    if not found:
        raise Refused(f"{root}: no mls_<language>/train/transcripts.txt in it, as in Multilingual LibriSpeech")


def genders_of(path: Path) -> dict[str, str]:
    """Speaker -> gender, where the table is there."""
    rows = [line.split("|") for line in lines_of(path)] if path.is_file() else []
    return {row[0].strip(): row[1].strip() for row in rows if len(row) > 1}
