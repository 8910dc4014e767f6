"""`stipple corpus publish`: send a finished corpus to an object store, or to another folder."""

import argparse
from pathlib import Path

from pipelines.verbs import add_corpus

SUMMARY = "send a corpus to an object store or a folder; whole or not at all"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What, and where to."""
    add_corpus(parser)
    parser.add_argument("target", metavar="TARGET", help="s3://BUCKET/PREFIX, gs://..., az://..., or a folder")
    parser.add_argument("--storage", type=Path, metavar="MANIFEST", help="how the store is reached: manifests/storage/")
    parser.add_argument("--verify", action="store_true", help="then read all of it back, and prove it")


def main(args: argparse.Namespace) -> int:
    """Exit codes: 0 it is there, 1 it is not."""
    from infra.buckets import Storage
    from infra.log import say
    from infra.manifest import load
    from infra.objects import place_of
    from pipelines.locate import corpus_at
    from pipelines.packing.publish import publish
    from pipelines.packing.verify import verify

    storage = load(Storage, args.storage) if args.storage else None
    target = place_of(args.target, storage)
    done = publish(corpus_at(args.corpus), target, say=say)
    before = f", {done.there} were there" if done.there else ""
    say(f"{done.sent} files sent, {done.sent_bytes / 1e6:,.1f} MB{before}" + ("" if done.won else "; published before"))
    wrong = verify(target) if args.verify else []
    for sentence in wrong:
        print(sentence)
    if not wrong:
        print(args.target)
    return 1 if wrong else 0
