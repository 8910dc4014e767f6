"""`stipple corpus compact`: a version of a corpus that does not hold the bytes of what was taken down."""

import argparse
from pathlib import Path

from pipelines.verbs import size_of

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
    from pipelines.locate import corpus_at
    from pipelines.packing.compact import compact
    from pipelines.policy.tombstones import store_of, tombstones_of
    from pipelines.policy.views import corpus_and_selection

    root = corpus_at(args.corpus)
    card = compact(root, args.out, soft_bytes=round(args.soft_mb * 1e6))
    print(f"{card['name']}@{card['digest']}: {size_of(card)}, from {card['compacted_from']}")
    print(f"{args.out}")
    place, _ = corpus_and_selection(root, None)
    if not tombstones_of(place):
        return 0
    held = [str(place)] if store_of(place) is None else [str(place.parent), f"{place.absolute().parents[1]}/*/work"]
    print(f"the bytes that were taken down are still in {' and '.join(held)}: remove by hand what is not needed")
    return 0
