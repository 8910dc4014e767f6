"""`stipple corpus stats`: the funnel of a finished corpus."""

import argparse
import json

from pipelines.verbs import add_corpus, size_of

SUMMARY = "print the funnel: hours in, kept, dropped, failed, and why"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The corpus, and in what form."""
    add_corpus(parser)
    parser.add_argument("--json", action="store_true", help="print funnel.json as it is")


def main(args: argparse.Namespace) -> int:
    """Size, licenses, hours by reason, costs; what a build prints, read from the corpus.

    Raises: CorpusError
    """
    from pipelines.funnel import costs_table, table
    from pipelines.ledger import unreadable
    from pipelines.locate import corpus_at
    from pipelines.policy.bill import terms_told
    from pipelines.shards import read_card

    root = corpus_at(args.corpus)
    card = read_card(root)
    try:
        text = (root / "funnel.json").read_text(encoding="utf-8")
        facts = json.loads(text)
    except (OSError, ValueError) as error:
        raise unreadable(root / "funnel.json", error) from None
    if args.json:
        print(text, end="")
        return 0
    megabytes = sum(shard["bytes"] for shard in card["shards"]) / 1e6
    print(f"{card['name']}@{card['digest']}: {size_of(card)}, {megabytes:,.1f} MB")
    print(f"licenses: {'; '.join(card['licenses'])}; terms: {terms_told(card['licenses'])}\n")
    print(table(facts))
    print(costs_table(facts))
    return 0
