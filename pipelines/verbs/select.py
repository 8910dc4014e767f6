"""`stipple corpus select`: what would a policy keep? Answered from stored scores, without a model."""

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

SUMMARY = "say what a policy would keep, which policy yields so many hours; write what it keeps as a view"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One question at a time."""
    parser.add_argument("corpus", help="a folder with corpus.json, or the name of a corpus in the store")
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--what-if", metavar="CONDITION", help="hours that it keeps, as 'utmos>=3.5 and snr_db>=20'")
    asked.add_argument(
        "--sweep",
        nargs=2,
        metavar=("SCORE", "FROM:TO:STEP"),
        help="hours against threshold, as mos_overall 2.5:4.5:0.1",
    )
    asked.add_argument("--target-hours", type=float, metavar="HOURS", help="the best thresholds that keep so many")
    parser.add_argument("--where", metavar="CONDITION", help="of these segments only")
    parser.add_argument("--language", metavar="CODE", help="with --target-hours: in this language only")
    parser.add_argument(
        "--by", default="mos_overall", metavar="A,B", help="with --target-hours: scores to set thresholds on"
    )
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")


def main(args: argparse.Namespace) -> int:
    """Exit codes: 0 done, 2 for what cannot be asked."""
    from pipelines.cli import corpus_at
    from pipelines.conditions import read_condition
    from pipelines.scored import score_names

    root = corpus_at(args.corpus)
    known = score_names(root)
    where = read_condition(args.where, known=known, where="--where") if args.where else None
    if args.what_if:
        return run_what_if(args, root, read_condition(args.what_if, known=known, where="--what-if"), where)
    if args.sweep:
        return run_sweep(args, root, where)
    return run_target(args, root, where)


def run_what_if(args: argparse.Namespace, root: Path, kept: Any, where: Any) -> int:
    """Hours kept and lost, and why."""
    from pipelines.what_if import table_of, what_if

    facts = what_if(root, kept=kept, where=where)
    print(json.dumps(facts, indent=2, ensure_ascii=False) if args.json else table_of(facts))
    return 0


def run_sweep(args: argparse.Namespace, root: Path, where: Any) -> int:
    """Hours against a threshold."""
    from infra.manifest import ManifestError
    from pipelines.conditions import holds
    from pipelines.scored import read_scored
    from pipelines.thresholds import bound_of
    from pipelines.what_if import curve, sweep

    score, steps = args.sweep
    scored = read_scored(root, {score, *(where.names if where else ())})
    if where is not None:
        scored = replace(scored, table=scored.table.filter(holds(where, scored.table)))
    try:
        below = bound_of(score, where="--sweep").below
    except ManifestError:
        below = False  # no filter says which side is the good one: more is taken for better
    points = sweep(scored, score, thresholds(steps), keep_below=below)
    sign = "<=" if below else ">="
    if args.json:
        rows = [{"threshold": at, "hours": hours, "segments": count} for at, hours, count in points]
        print(json.dumps({"score": score, "keeps": sign, "points": rows}, indent=2))
    else:
        print(curve(points, score=score, sign=sign))
    return 0


def thresholds(steps: str) -> Any:
    """`2.5:4.5:0.1` as numbers, both ends included.

    Raises: ManifestError
    """
    import numpy as np

    from infra.manifest import ManifestError

    try:
        first, last, step = [float(word) for word in steps.split(":")]
        count = round((last - first) / step) + 1
    except (ValueError, ZeroDivisionError, OverflowError):
        count = 0
    if not 1 <= count <= 10_000:
        raise ManifestError("--sweep", [f"{steps!r} is not FROM:TO:STEP of at most 10000 steps, such as 2.5:4.5:0.1"])
    return np.round(first + step * np.arange(count), 10)


def run_target(args: argparse.Namespace, root: Path, where: Any) -> int:
    """Thresholds as lines of a manifest."""
    from infra.manifest import ManifestError
    from pipelines.shards import read_card
    from pipelines.targets import target, yaml_of

    scores = [word.strip() for word in args.by.split(",") if word.strip()]
    if not scores or args.target_hours <= 0:
        raise ManifestError("--target-hours", ["wants more than 0 hours, and at least one score in --by"])
    found = target(root, hours=args.target_hours, scores=scores, language=args.language, where=where)
    card = read_card(root)
    told = (
        json.dumps(asdict(found), indent=2) if args.json else yaml_of(found, corpus=f"{card['name']}@{card['digest']}")
    )
    print(told)
    return 0
