"""`stipple corpus dedup`: copies in corpora and across them, and what they share with evaluation sets."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.copies.clip_sets import ClipSet
    from pipelines.copies.dedup import Copy

SUMMARY = "find copies, exact and re-encoded, across corpora and against evaluation sets; hide them"
SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Corpora, in the order of preference."""
    parser.add_argument(
        "corpora", nargs="+", metavar="CORPUS", help="corpora; of two copies, the earlier one's is kept"
    )
    parser.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="EVAL",
        help="a corpus, or a folder of sound files, to keep out",
    )
    parser.add_argument(
        "--min-share", type=float, default=0.5, metavar="S", help="of the shorter clip, to be a copy (default 0.5)"
    )
    parser.add_argument("--apply", action="store_true", help="hide the copies from readers and later builds")
    parser.add_argument("--json", action="store_true", help="print every pair as JSON")


def main(args: argparse.Namespace) -> int:
    """Exit codes: 0 no copies (or all of them hidden now), 1 some."""
    import getpass
    import os

    from infra.manifest import ManifestError
    from pipelines.copies.clip_sets import clips_at
    from pipelines.copies.dedup import check_names, copies, write_tombstones
    from pipelines.locate import corpus_at

    if not 0 < args.min_share <= 1:
        raise ManifestError("--min-share", [f"lies between 0 and 1, but is {args.min_share:g}"])
    sets = [clips_at(corpus_at(word), say=say) for word in args.corpora]
    evaluation = [clips_at(corpus_at(word), say=say) for word in args.against]
    if args.apply:
        check_names(sets, evaluation)
    found = copies(sets, evaluation, min_share=args.min_share)
    print(json.dumps(facts_of(found, sets, evaluation), indent=2) if args.json else table(found, sets, evaluation))
    if args.apply and found:
        written = write_tombstones(found, sets, evaluation, who=f"{getpass.getuser()}@{os.uname().nodename}")
        say(f"{written} tombstones: readers do not see the copies any more, and builds drop them")
    return int(bool(found) and not args.apply)


def say(line: str) -> None:
    """To the person who watches."""
    print(line, file=sys.stderr)


def facts_of(found: "Sequence[Copy]", sets: "Sequence[ClipSet]", evaluation: "Sequence[ClipSet]") -> dict[str, Any]:
    """Every pair, and hours by corpus and reason."""
    everything = [*evaluation, *sets]
    pairs = [
        {
            "corpus": sets[copy.of_set].name,
            "key": copy.clip.name,
            "reason": copy.reason,
            "exact": copy.exact,
            "of": everything[copy.kept_set + len(evaluation)].name,
            "of_key": copy.kept.name,
            "clip_seconds": copy.clip.seconds,
            "seconds": round(copy.seconds, 3),
            "rate": round(copy.rate, 4),
        }
        for copy in found
    ]
    sizes = {item.name: {"clips": len(item.clips), "hours": item.hours} for item in everything}
    return {"sets": sizes, "pairs": pairs, "hours": sum(copy.clip.seconds for copy in found) / 3600}


def table(found: "Sequence[Copy]", sets: "Sequence[ClipSet]", evaluation: "Sequence[ClipSet]") -> str:
    """For people."""
    from pipelines.funnel import duration

    everything = [*evaluation, *sets]
    lines = [f"{item.name}: {len(item.clips)} clips, {duration(item.hours)}" for item in sets]
    lines += [f"against {item.name}: {len(item.clips)} clips, {duration(item.hours)}" for item in evaluation]
    for number, item in enumerate(sets):
        for reason in ("evaluation_overlap", "near_duplicate"):
            mine = [copy for copy in found if copy.of_set == number and copy.reason == reason]
            if mine:
                hours = sum(copy.clip.seconds for copy in mine) / 3600
                exact = sum(copy.exact for copy in mine)
                lines.append(f"  {Path(item.name).name}: {reason}: {len(mine)} clips, {duration(hours)}; {exact} exact")
    for copy in found[:SHOWN]:
        kind = "exact" if copy.exact else f"{copy.rate:.1%} of bits differ"
        other = everything[copy.kept_set + len(evaluation)].name.split("@")[0]
        lines.append(f"    {copy.clip.name[:26]} ({copy.seconds:.1f} s) is in {other}: {copy.kept.name[:40]}  ({kind})")
    if len(found) > SHOWN:
        lines.append(f"    and {len(found) - SHOWN} more (--json tells all)")
    return "\n".join(lines if found else [*lines, "no copies"])
