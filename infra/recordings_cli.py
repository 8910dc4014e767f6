"""`stipple recordings`: catalog recordings, outside a workflow."""

import argparse
from pathlib import Path

from infra.examples import add_examples
from infra.settings import add_set, settings_of
from infra.workflow.single import single

SUMMARY = "catalog a folder of recordings, or make synthetic ones"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`stipple recordings MANIFEST`."""
    parser.add_argument("manifest", type=Path, help="a manifest in manifests/recordings/")
    add_set(parser)
    parser.add_argument("--force", action="store_true", help="make it again; the old one is kept")
    add_examples(
        parser,
        "recordings manifests/recordings/emilia.yaml --set folder=/data/emilia",
        "recordings manifests/recordings/quickstart.yaml",
    )


def main(args: argparse.Namespace) -> int:
    """Catalog, and print where the catalog lies."""
    made = single("recordings", args.manifest, overrides=settings_of(args.set), force=args.force)
    print(made.out / "recordings.jsonl")
    return 0
