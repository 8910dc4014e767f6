"""`stipple corpus select`: what would a policy keep? Answered from stored scores, without a model."""

import argparse
import json
import re
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from infra.examples import add_examples
from pipelines.verbs import add_corpus

SUMMARY = "say what a policy would keep, which policy yields so many hours; write what it keeps as a view"
VIEW_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
"""Of a view: a folder of that name lies in the store, and nowhere else."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One question at a time."""
    add_corpus(parser)
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument("--what-if", metavar="CONDITION", help="hours that it keeps, as 'utmos>=3.5 and snr_db>=20'")
    asked.add_argument(
        "--sweep",
        nargs=2,
        metavar=("SCORE", "FROM:TO:STEP"),
        help="hours against threshold, as mos_overall 2.5:4.5:0.1",
    )
    asked.add_argument("--target-hours", type=float, metavar="HOURS", help="the best thresholds that keep so many")
    asked.add_argument(
        "--policy", type=Path, metavar="MANIFEST", help="what `keep` and `tiers` of a manifest would keep"
    )
    parser.add_argument(
        "--allow", action="append", default=[], metavar="USE", help="only licenses that allow it: commercial, ..."
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write what is kept as a view that training opens")
    parser.add_argument("--name", help="the same, into the store, under this name")
    parser.add_argument("--where", metavar="CONDITION", help="of these segments only")
    parser.add_argument("--language", metavar="CODE", help="with --target-hours: in this language only")
    parser.add_argument(
        "--by", metavar="A,B", help="with --target-hours: scores to set thresholds on (default: mos_overall)"
    )
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    add_examples(
        parser,
        "corpus select CORPUS --what-if 'mos_overall>=3 and snr_db>=20'",
        "corpus select CORPUS --sweep mos_overall 2.5:4.5:0.1",
        "corpus select CORPUS --target-hours 200 --language zh --by mos_overall",
        "corpus select CORPUS --allow commercial --name free",
    )


def main(args: argparse.Namespace) -> int:
    """Exit codes: 0 done, 1 where a license that is not allowed is there, 2 for what cannot be asked."""
    from pipelines.locate import corpus_at
    from pipelines.policy.conditions import read_condition
    from pipelines.policy.scored import score_names

    check_together(args)
    root = corpus_at(args.corpus)
    asked = (args.what_if, args.sweep, args.target_hours, args.policy, args.where, args.out, args.name)
    if args.allow and not any(asked):
        return run_licenses(args, root)
    known = score_names(root)
    where = read_condition(args.where, known=known, where="--where") if args.where else None
    if args.what_if:
        return run_what_if(args, root, read_condition(args.what_if, known=known, where="--what-if"), where)
    if args.sweep:
        return run_sweep(args, root, where)
    if args.target_hours is not None:
        return run_target(args, root, where)
    return run_view(args, root, where)


def check_together(args: argparse.Namespace) -> None:
    """Is every word read that was said?

    Raises: ManifestError for those that the question leaves aside.
    """
    from infra.manifest import ManifestError

    question = next((name for name in ("what_if", "sweep", "target_hours") if getattr(args, name) is not None), None)
    unread = [] if question is None else ["out", "name", "allow"]
    unread += [] if question == "target_hours" else ["by", "language"]
    if aside := [flag(name) for name in unread if getattr(args, name)]:
        asked = "without --target-hours" if question is None else f"with {flag(question)}"
        told = f"{', '.join(aside)} would not be read {asked}; leave it out, or ask one after the other"
        raise ManifestError("command line", [told])


def flag(name: str) -> str:
    """The word on the command line that sets it."""
    return f"--{name.replace('_', '-')}"


def run_view(args: argparse.Namespace, root: Path, where: Any) -> int:
    """What a policy keeps; written as a view where a place for it is named."""
    from infra.manifest import ManifestError, load
    from infra.workflow.elsewhere import SELECTIONS
    from infra.workflow.single import STORE
    from pipelines.manifest import CorpusManifest
    from pipelines.policy.licenses import refused
    from pipelines.policy.selection import policy_facts, table, tally, write_selection
    from pipelines.shards import open_corpus

    if args.policy is None and where is None and not args.allow:
        told_so = "say what to select by: --policy, --where, --allow; or ask --what-if, --sweep or --target-hours"
        raise ManifestError("command line", [told_so])
    if args.name is not None and not VIEW_NAME.fullmatch(args.name):
        told_so = f"{args.name!r} is not letters, digits, _, . and -, the first one a letter or digit"
        raise ManifestError("--name", [told_so])
    check_uses(args.allow)
    policy = load(CorpusManifest, args.policy) if args.policy else None
    found = tally(root, policy=policy, allow=args.allow, where=where)
    facts = policy_facts(policy, allow=args.allow, where=where)
    numbers = {one.name: getattr(found, one.name) for one in fields(found) if one.name != "kept"}
    print(json.dumps(numbers, indent=2) if args.json else table(found, allow=args.allow))
    if args.out is None and args.name is None:
        return 0
    out = args.out or STORE / SELECTIONS / args.name
    card = write_selection(out, root, found, name=args.name or out.name, policy=facts)
    left = open_corpus(out)
    print(f"{card['name']}@{card['digest']}: {len(left)} samples of {left.name}, {', '.join(left.licenses)}")
    print(out)
    return int(any(refused(name, args.allow) for name in left.licenses))


def run_licenses(args: argparse.Namespace, root: Path) -> int:
    """The licenses of what readers see, in a corpus or a selection: 1 where one of them does not allow the uses."""
    from pipelines.policy.bill import bill, hours_under, table
    from pipelines.shards import open_corpus

    check_uses(args.allow)
    corpus = open_corpus(root)
    lines = bill(hours_under(corpus), allow=args.allow)
    good = [line for line in lines if line.refused is None]
    if args.json:
        print(json.dumps([asdict(line) for line in lines], indent=2))
    else:
        print(table(lines, title=f"licenses in {corpus.name}@{corpus.digest[:12]}"))
        print(table(good, title=f"of these, allowed for {', '.join(args.allow)}"))
    return int(len(good) < len(lines))


def check_uses(uses: list[str]) -> None:
    """Are these uses that licenses are asked for?

    Raises: ManifestError
    """
    from infra.manifest import ManifestError, did_you_mean
    from pipelines.policy.licenses import USES

    wrong = [
        f"no use {use!r}{did_you_mean(use, USES)}; there are: {', '.join(USES)}" for use in uses if use not in USES
    ]
    if wrong:
        raise ManifestError("--allow", wrong)


def run_what_if(args: argparse.Namespace, root: Path, kept: Any, where: Any) -> int:
    """Hours kept and lost, and why."""
    from pipelines.policy.what_if import table_of, what_if

    facts = what_if(root, kept=kept, where=where)
    print(json.dumps(facts, indent=2, ensure_ascii=False) if args.json else table_of(facts))
    return 0


def run_sweep(args: argparse.Namespace, root: Path, where: Any) -> int:
    """Hours against a threshold."""
    from infra.manifest import ManifestError
    from pipelines.policy.conditions import holds
    from pipelines.policy.scored import read_scored
    from pipelines.policy.thresholds import bound_of
    from pipelines.policy.what_if import curve, sweep

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
    from pipelines.policy.targets import target, yaml_of
    from pipelines.shards import read_card

    scores = [word.strip() for word in ("mos_overall" if args.by is None else args.by).split(",") if word.strip()]
    if not scores or not args.target_hours > 0:  # not a number is not more than 0 either
        raise ManifestError("--target-hours", ["wants more than 0 hours, and at least one score in --by"])
    found = target(root, hours=args.target_hours, scores=scores, language=args.language, where=where)
    card = read_card(root)
    told = (
        json.dumps(asdict(found), indent=2) if args.json else yaml_of(found, corpus=f"{card['name']}@{card['digest']}")
    )
    print(told)
    return 0
