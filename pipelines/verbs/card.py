"""`stipple corpus card`: the data card of a corpus, in Markdown."""

import argparse

SUMMARY = "print the data card: sources, licenses, hours, chain, limits, in Hugging Face's form"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The corpus."""
    parser.add_argument("corpus", help="a folder with corpus.json, or the name of a corpus in the store")


def main(args: argparse.Namespace) -> int:
    """Print it."""
    from pipelines.card import card_of
    from pipelines.cli import corpus_at

    print(card_of(corpus_at(args.corpus)), end="")
    return 0
