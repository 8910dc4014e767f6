"""`stipple corpus takedown`: hide samples, by speaker, recording, URL, hash or key, from all who read or build."""

import argparse
import getpass
import os
from pathlib import Path

from pipelines.verbs import add_corpus

SUMMARY = "hide samples from all who read or build, by speaker, recording, URL, hash or key"
ASKED = {
    "speaker": "the speaker as given with the recordings, or as told apart in one",
    "recording": "a recording, by its name in the corpus",
    "url": "everything with this source",
    "sha256": "a recording, by the hash of its file",
    "key": "one sample, and what else is cut from the same interval",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What, and why."""
    add_corpus(parser)
    group = parser.add_mutually_exclusive_group(required=True)
    for name, told in ASKED.items():
        group.add_argument(f"--{name}", metavar=name.upper(), help=told)
    parser.add_argument(
        "--reason", required=True, metavar="TEXT", help="why: it is written down and published, so name nobody"
    )
    parser.add_argument("--by", metavar="WHO", help="who decided it (default: you, on this machine)")
    parser.add_argument(
        "--published", action="append", default=[], metavar="TARGET", help="hide it where the corpus is published, too"
    )
    parser.add_argument("--storage", type=Path, metavar="MANIFEST", help="how the object store is reached")
    parser.add_argument("--dry-run", action="store_true", help="say what it would hide, and do nothing")


def main(args: argparse.Namespace) -> int:
    """Exit codes: 0 done (now or before), 1 where there is no such thing."""
    from infra.buckets import Storage
    from infra.manifest import ManifestError, load
    from infra.objects import place_of
    from pipelines.funnel import duration
    from pipelines.locate import corpus_at
    from pipelines.policy.erasing import erase_beside
    from pipelines.policy.takedown import published_in, take_down, tombstone_for, touched
    from pipelines.policy.tombstones import publish_tombstone

    if not args.reason.strip():
        raise ManifestError("--reason", ["is empty; say why, for those who ask in years"])
    root = corpus_at(args.corpus)
    field = next(name for name in ASKED if getattr(args, name) is not None)
    who = args.by or f"{getpass.getuser()}@{os.uname().nodename}"
    made = tombstone_for(root, field=field, values=[getattr(args, field)], why=args.reason, who=who)
    found = touched(root, made)
    for place in found:
        before = f"; written down before, {place.known_since}" if place.known_since else ""
        print(f"{place.name}: {place.kept} samples, {duration(place.hours_kept)}; {place.segments} segments{before}")
        print(f"  {place.root}")
    storage = load(Storage, args.storage) if args.storage else None
    targets = [place_of(target, storage) for target in args.published]
    for target in targets:  # before anything is written: where none is published, nothing would be hidden
        name, count = published_in(target, made)
        print(f"{name}, published: {count} samples{'' if count else '; it has none of these, or hides them already'}")
        print(f"  {target}")
    if not any(place.segments or place.known_since for place in found):
        where = f"corpora of the name {made.corpus}" if made.corpus and not made.spans else "every corpus of this store"
        print(f"warning: no segment has the {field} {getattr(args, field)!r} yet; later builds of {where} drop it")
    if args.dry_run:
        print("nothing was changed (--dry-run)")
        return 0
    take_down(root, made, found)
    for target in targets:
        publish_tombstone(target, made)
    print(f"tombstone {made.id}: readers do not see them any more, and builds in this store drop them")
    count, busy = erase_beside(root, made, found)
    if count:
        print(f"{count} segments erased in work folders: no later build takes them over")
    for work in busy:
        print(f"{work}: in use; say this again when the build there is done, to erase them there, too")
    print("the bytes are still in shards, clips/ and audit.html of what was built before or is published, in exports,")
    print("in evaluations that took prompts from it, and in the recordings; webdataset and the like still read them;")
    print("`stipple corpus compact` makes a version without them")
    return 0
