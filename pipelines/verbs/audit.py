"""`stipple corpus audit`: the page to listen to and look at, and the verdict of whoever listened."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipelines.verbs import add_corpus

SUMMARY = "the audit page, and the verdict of those who listened to its sample"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The corpus, and what of it."""
    add_corpus(parser)
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument("--verdicts", type=Path, metavar="FILE", help="what an audit page saved: compute the verdict")
    asked.add_argument("--page", type=Path, metavar="FILE", help="write the page anew, with the sounds of the shards")
    parser.add_argument("--json", action="store_true", help="with --verdicts: print the numbers as JSON")


def main(args: argparse.Namespace) -> int:
    """Exit codes: 0 accepted, or written; 1 refused, or not all clips are judged yet."""
    from pipelines.locate import corpus_at

    root = corpus_at(args.corpus)
    if args.verdicts:
        return run_verdicts(root, args.verdicts, as_json=args.json)
    print(write_page(root, args.page) if args.page else root / "audit.html")
    return 0


def run_verdicts(root: Path, file: Path, *, as_json: bool) -> int:
    """Check that the file is about this version and its sample, and compute."""
    from pipelines.acceptance import judge, read_verdicts
    from pipelines.shards import CorpusError, open_corpus

    corpus, found = open_corpus(root, whole=True), read_verdicts(file)
    here = f"{corpus.name}@{corpus.digest}"
    if found.get("corpus") != here:
        told = f"{file}: these verdicts are of {found.get('corpus')}, but the corpus is {here}"
        raise CorpusError(f"{told}; save them from its own page")
    result = judge(found["verdicts"], keys=corpus.rows.columns("key")["key"], digest=corpus.digest)
    print(
        json.dumps({"corpus": here, **asdict(result), "status": result.status})
        if as_json
        else f"{here}\n{result.sentence}"
    )
    return 0 if result.status == "accepted" else 1


def write_page(root: Path, file: Path) -> Path:
    """The page, with the sounds that the shards hold: those of rejected clips are gone with the work folder."""
    from pipelines.audit import write_audit
    from pipelines.shards import open_corpus

    corpus = open_corpus(root)
    keys = corpus.rows.columns("key")["key"]

    def sound_of(row: Mapping[str, Any]) -> bytes | None:
        number = int(keys.index(row["key"]).as_py())
        return None if number < 0 else bytes(corpus.members(number)[1]["flac"])

    return write_audit(root, sound_of=sound_of, to=file)
