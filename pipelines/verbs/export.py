"""`stipple corpus export`: a corpus as lhotse, Energon or dots.tts read it."""

import argparse
import contextlib
from pathlib import Path

FORMATS = ("energon", "jsonl", "lhotse", "lhotse-shar")
"""Those of pipelines.packing.export; `jsonl` is the training manifest of dots.tts."""
SUMMARY = "write what lhotse, Energon or dots.tts need to read a corpus"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What, as what, and where to."""
    parser.add_argument("corpus", help="a folder with corpus.json or selection.json, or a name in the store")
    parser.add_argument("--format", required=True, choices=FORMATS, help="who is to read it")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="a new folder to write it into")


def main(args: argparse.Namespace) -> int:
    """Exit codes: 0 written, 1 not.

    Raises: Refused where something is in the folder: of an earlier export, it would be read along.
    """
    from infra.locks import new_folder
    from infra.log import say
    from pipelines.locate import corpus_at
    from pipelines.packing.export import WRITERS
    from pipelines.policy.views import refuse_if_hidden_since
    from pipelines.shards import open_corpus

    root = corpus_at(args.corpus)
    in_place = args.format == "energon" and args.out.resolve() == root.resolve()
    corpus = open_corpus(root)
    with contextlib.nullcontext() if in_place else new_folder(args.out):
        count = WRITERS[args.format](corpus, args.out)
    refuse_if_hidden_since(root, corpus, args.out)
    left = len(corpus) - count
    say(f"{corpus.name}@{corpus.digest}: {count} samples" + (f"; {left} without a text are left out" if left else ""))
    print(args.out)
    return 0
