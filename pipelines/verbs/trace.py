"""`stipple corpus trace`: where a sample comes from; which samples come from a recording."""

import argparse
import json
from pathlib import Path

SUMMARY = "where a sample comes from; which samples come from a recording, a hash or a URL"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to look for, and where."""
    parser.add_argument(
        "what", metavar="WHAT", help="a sample's key, a sound file, the name, sha256 or URL of a recording"
    )
    parser.add_argument(
        "--in",
        dest="corpora",
        action="append",
        default=[],
        metavar="CORPUS",
        help="look here (default: in all of the store)",
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")


def main(args: argparse.Namespace) -> int:
    """Exit codes: 0 found, 1 not found."""
    from infra.workflow.node import Refused
    from infra.workflow.single import STORE
    from pipelines.locate import corpus_at
    from pipelines.policy.takedown import corpora_in
    from pipelines.trace import facts, table, trace

    roots: list[Path] = [corpus_at(word) for word in args.corpora] or corpora_in(STORE)
    found = trace(args.what, roots)
    if not found:
        raise Refused(
            f"{args.what}: no sample and no recording of {len(roots)} corpora has this key, file, name, hash or URL"
        )
    print(json.dumps(facts(found), indent=2, ensure_ascii=False) if args.json else table(found))
    return 0
