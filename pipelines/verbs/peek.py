"""`stipple corpus peek`: a few samples of a finished corpus, or of what was not kept."""

import argparse
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from pipelines.verbs import add_corpus

SUMMARY = "print a few samples, or a few of those that were dropped"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The corpus, how many, and of which kind."""
    add_corpus(parser)
    parser.add_argument("--count", type=int, default=10, metavar="N", help="how many (default 10)")
    parser.add_argument("--dropped", metavar="REASON", nargs="?", const="", help="those dropped or failed, and why")


def main(args: argparse.Namespace) -> int:
    """Samples spread over the corpus, a line each."""
    from pipelines.locate import corpus_at
    from pipelines.policy.redaction import redacted_rows
    from pipelines.shards import open_corpus

    root = corpus_at(args.corpus)
    rows: Sequence[Mapping[str, Any]] = open_corpus(root).rows
    if args.dropped is not None:
        lost = [row for row in redacted_rows(root) if row["status"] != "kept"]
        rows = [row for row in lost if is_asked(row, args.dropped)]
        if args.dropped and not rows:
            refuse(root, args.dropped, {reason for row in lost for reason in row["reasons"]})
    for row in rows[:: max(len(rows) // max(args.count, 1), 1)][: args.count]:
        print(row_line(row))
    return 0


def refuse(root: Path, asked: str, reasons: Collection[str]) -> NoReturn:
    """Raises: CorpusError."""
    from infra.manifest import did_you_mean
    from pipelines.shards import CorpusError

    near = did_you_mean(asked, reasons) or ";"
    told = f"the reasons are: {', '.join(sorted(reasons))}" if reasons else "nothing was dropped or failed"
    raise CorpusError(f"{root}: nothing was dropped for {asked!r}{near} {told}")


def is_asked(row: Mapping[str, Any], reason: str) -> bool:
    """Was it dropped or failed for the reason; where none is asked for, for any but lying between segments?"""
    return reason in row["reasons"] if reason else row["reasons"] != ["between"]


def row_line(row: Mapping[str, Any]) -> str:
    """A sample, or a fate of the ledger, for people."""
    mos = "" if row["mos_overall"] is None else f"mos {row['mos_overall']:.2f}"
    language = row["language"] or row["given_language"] or "?"
    head = f"{(row['key'] or '-')[:10]:<10} {row.get('item_seconds', row['seconds']):>6.2f} s {language:<3} {mos:<8}"
    told = row.get("reason") or f"{row['tier']}: {row['text'] or '(no text)'}"
    return f"{head} {row['recording']}  {told}"
