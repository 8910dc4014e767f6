"""`stipple corpus compact`: a version of a corpus that does not hold the bytes of what was taken down."""

import argparse
from pathlib import Path

SUMMARY = "write a version without what was taken down; of a selection, a corpus of its own"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What, and where to."""
    parser.add_argument(
        "corpus", help="a folder with corpus.json or selection.json, or the name of a corpus in the store"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="a new folder")
    parser.add_argument("--soft-mb", type=float, default=1024.0, metavar="MB", help="size of a shard (default 1024)")


def main(args: argparse.Namespace) -> int:
    """Exit codes: 0 done, 1 where nothing is left."""
    from pipelines.cli import corpus_at, told_of
    from pipelines.packing.compact import compact

    root = corpus_at(args.corpus)
    card = compact(root, args.out, soft_bytes=round(args.soft_mb * 1e6))
    print(f"{card['name']}@{card['digest']}: {told_of(card)}, from {card['compacted_from']}")
    print(f"{args.out}")
    print(
        f"the bytes that were taken down are still in {root.parent if root.name == 'out' else root}: remove it by hand"
    )
    return 0
