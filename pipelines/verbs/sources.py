"""`stipple corpus sources`: the open corpora that have a reader, what their licenses allow, and how to get them."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.storage import ROOT

SUMMARY = "list the open corpora that can be read: hours, license, what it allows, how to get them"
FOLDER = ROOT / "manifests" / "recordings"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which, and in what form."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="corpora to tell all about (default: one line each)")
    parser.add_argument(
        "--allow", metavar="USE", help="only those that allow commercial, derivatives or redistribution"
    )
    parser.add_argument("--json", action="store_true", help="print the facts as JSON")


def main(args: argparse.Namespace) -> int:
    """Exit codes: 0 done, 2 no such corpus or use."""
    from infra.manifest import ManifestError, did_you_mean
    from pipelines.policy.licenses import USES

    if args.allow and args.allow not in USES:
        raise ManifestError("--allow", [f"no such use: {args.allow}{did_you_mean(args.allow, USES)}"])
    facts = list(sources(FOLDER))
    known = [fact["name"] for fact in facts]
    if wrong := [name for name in args.names if name not in known]:
        raise ManifestError("command line", [f"no corpus {name}{did_you_mean(name, known)}" for name in wrong])
    chosen = [fact for fact in facts if not args.names or fact["name"] in args.names]
    chosen = [fact for fact in chosen if not args.allow or args.allow in fact["allows"]]
    if args.json:
        print(json.dumps(chosen, indent=2, ensure_ascii=False))
    elif args.names:
        print("\n\n".join(details(fact) for fact in chosen))
    else:
        print(f"{'corpus':<18}{'hours':>9}  {'allows':<42}license")
        for fact in chosen:
            hours = f"{fact['hours']:,.0f}" if fact["hours"] else "?"
            print(f"{fact['name']:<18}{hours:>9}  {', '.join(fact['allows']) or 'nothing':<42}{fact['license']}")
    return 0


def sources(folder: Path) -> Iterator[dict[str, Any]]:
    """What the manifests of open corpora in `folder` say; by name."""
    from infra.manifest import load
    from pipelines.policy.licenses import USES, allows
    from pipelines.recordings import RecordingsManifest

    for path in sorted(folder.glob("*.yaml")):
        manifest = load(RecordingsManifest, path)
        if manifest.title:
            yield {
                "name": path.stem,
                "title": manifest.title,
                "hours": manifest.expected_hours,
                "license": manifest.license,
                "allows": [use for use in USES if allows(manifest.license, use)],
                "terms": sorted(manifest.terms or []),
                "attribution": manifest.attribution,
                "source": manifest.source,
                "restored": manifest.restored,
                "splits_for_training": manifest.splits_for_training,
                "how_to_get": manifest.how_to_get,
                "manifest": path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path),
            }


def details(fact: dict[str, Any]) -> str:
    """All about one corpus."""
    from pipelines.policy.licenses import TERMS

    splits = fact["splits_for_training"]
    lines = {
        "hours": f"{fact['hours']:,g}" if fact["hours"] else "not known",
        "license": fact["license"],
        "asks": "; ".join(f"{term} ({TERMS[term]})" for term in fact["terms"]) or "nothing",
        "allows": ", ".join(fact["allows"]) or "nothing",
        "cite": fact["attribution"],
        "source": fact["source"],
        "to train on": "all but what its reader takes for evaluation sets"
        if splits is None
        else ", ".join(splits) or "nothing of it",
        "sound": "restored by whoever published it" if fact["restored"] else "as recorded",
        "how to get": fact["how_to_get"],
        "then": f"stipple recordings {fact['manifest']} --set folder=FOLDER",
    }
    return "\n".join([fact["title"], *(f"  {key:<13}{value}" for key, value in lines.items())])
