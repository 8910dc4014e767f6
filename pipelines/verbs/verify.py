"""`stipple corpus verify`: is every byte as it was written?"""

import argparse
from pathlib import Path

from pipelines.verbs import add_corpus, size_of

SUMMARY = "prove that every byte is as it was written"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The corpus."""
    add_corpus(parser)


def main(args: argparse.Namespace) -> int:
    """Every shard against its hash, every sample against the index. Exit codes: 0 as written, 1 damaged."""
    from pipelines.locate import corpus_at
    from pipelines.packing.verify import verify
    from pipelines.policy.views import hidden_in
    from pipelines.shards import read_card

    root = args.corpus if "://" in args.corpus else corpus_at(args.corpus)
    wrong = verify(root)
    for sentence in wrong:
        print(sentence)
    if wrong:
        return 1
    card = read_card(root)
    hidden = hidden_in(root) if isinstance(root, Path) else 0
    aside = f"; {hidden} of them hidden by tombstones" if hidden else ""
    print(f"{card['name']}@{card['digest']}: {size_of(card)}, as written{aside}")
    return 0
