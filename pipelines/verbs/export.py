"""`stipple corpus export`: a corpus as lhotse, Energon or dots.tts read it."""

import argparse
from pathlib import Path

FORMATS = ("energon", "jsonl", "lhotse", "lhotse-shar")
"""Those of pipelines.packing.export; `jsonl` is the training manifest of dots.tts."""
SUMMARY = "write what lhotse, Energon or dots.tts need to read a corpus"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What, as what, and where to."""
    parser.add_argument("corpus", help="a folder with corpus.json or selection.json, or a name in the store")
    parser.add_argument("--format", required=True, choices=FORMATS, help="who is to read it")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where to write it")


def main(args: argparse.Namespace) -> int:
    """Exit codes: 0 written, 1 not."""
    from infra.log import say
    from pipelines.cli import corpus_at
    from pipelines.packing.export import WRITERS
    from pipelines.shards import open_corpus

    corpus = open_corpus(corpus_at(args.corpus))
    count = WRITERS[args.format](corpus, args.out)
    left = len(corpus) - count
    say(f"{corpus.name}@{corpus.digest}: {count} samples" + (f"; {left} without a text are left out" if left else ""))
    print(args.out)
    return 0
