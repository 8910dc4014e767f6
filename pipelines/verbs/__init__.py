"""What `stipple corpus` can do: one file a verb: `SUMMARY`, `add_arguments` and `main`. Here is what they share."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.log import counted
from infra.settings import add_set


def add_corpus(parser: argparse.ArgumentParser) -> None:
    """The finished corpus that a verb is about; `pipelines.locate.corpus_at` finds it."""
    parser.add_argument("corpus", help="a folder with corpus.json, or the name of a corpus in the store")


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """The manifest and the recordings that a corpus is, or would be, made of."""
    parser.add_argument("manifest", type=Path, help="a manifest in manifests/corpora/")
    parser.add_argument(
        "--recordings", type=Path, required=True, metavar="FOLDER", help="a folder of recordings, or a catalog"
    )
    add_set(parser)


def size_of(card: Mapping[str, Any]) -> str:
    """`3 samples in 1 shard`, of the corpus with this corpus.json."""
    return f"{card['samples']} samples in {counted(len(card['shards']), 'shard')}"
