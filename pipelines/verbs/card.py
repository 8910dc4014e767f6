"""`stipple corpus card`: the data card of a corpus, in Markdown."""

import argparse

from pipelines.verbs import add_corpus

SUMMARY = "print the data card: sources, licenses, hours, chain, limits, in Hugging Face's form"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The corpus."""
    add_corpus(parser)


def main(args: argparse.Namespace) -> int:
    """Print it."""
    from pipelines.card import card_of
    from pipelines.locate import corpus_at

    print(card_of(corpus_at(args.corpus)), end="")
    return 0
