"""`stipple corpus retry`: let the next build try again what failed: the reason may be gone."""

import argparse
from collections import Counter
from pathlib import Path

SUMMARY = "let the next build try again what failed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which corpus, and which failures."""
    parser.add_argument("corpus", help="a corpus in the store, by its name, or the folder of one of its builds")
    parser.add_argument("--reason", metavar="NAME", help="only what failed for this reason, such as unreadable")
    parser.add_argument("--dry-run", action="store_true", help="say what would be tried again, and do nothing")


def main(args: argparse.Namespace) -> int:
    """Exit codes: 0 done, 1 where nothing failed so, or a build is at work there."""
    from infra.workflow.store import Slot
    from pipelines.funnel import duration
    from pipelines.ledger import failed_units, result_path, sound_path
    from pipelines.policy.erasing import at_rest

    names: Counter[str] = Counter()
    found = {}
    for work in works_of(args.corpus):
        for result in failed_units(work, reason=args.reason):
            failed = [fate for fate in result.fates if fate.status == "failed"]
            names.update((fate.reason or "").split(":")[0] for fate in failed)
            found[work, result.unit, result.chain] = sum(fact.seconds for fact in result.recordings)
    if not found:
        print(f"{args.corpus}: nothing failed" + (f" for the reason {args.reason}" if args.reason else ""))
        return 1
    told = ", ".join(f"{name} {count}" for name, count in names.most_common())
    print(f"{len(found)} results of units, {duration(sum(found.values()) / 3600)} in all, with failures: {told}")
    if args.dry_run:
        print("nothing was changed (--dry-run)")
        return 0
    busy = False
    for work in sorted({work for work, _, _ in found}):
        with at_rest(Slot(work.parent)) as free:
            if not free:
                busy = True
                print(f"{work}: in use; say this again when the build there is done")
                continue
            for unit, chain in ((unit, chain) for where, unit, chain in found if where == work):
                result_path(work, unit=unit, chain=chain).unlink()
                sound_path(work, unit=unit, chain=chain).unlink(missing_ok=True)
    if busy:
        return 1
    print("the next build does these units again; where the corpus was finished, it needs --force")
    return 0


def works_of(word: str) -> list[Path]:
    """The work folders of all builds of a corpus: a name in the store, or a folder in one of its builds.

    Raises: CorpusError
    """
    from infra.workflow.single import STORE
    from pipelines.shards import CorpusError

    path = Path(word)
    places = [path, *path.resolve().parents] if path.exists() else [STORE / word.replace("-", "_")]
    for place in places:
        works = [place / "work"] if (place / "work").is_dir() else sorted(place.glob("*/work"))
        if works and any((work / "units").is_dir() for work in works):
            return works
    raise CorpusError(f"{word}: no build of this corpus in the store; `stipple corpus build` makes one")
