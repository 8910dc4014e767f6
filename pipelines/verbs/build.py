"""`stipple corpus build`: make a corpus from recordings, or go on with it."""

import argparse
from pathlib import Path

from infra.examples import add_examples
from pipelines.verbs import add_recipe

SUMMARY = "build a corpus from recordings, or go on with it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What of, and by which manifest."""
    add_recipe(parser)
    parser.add_argument("--force", action="store_true", help="build it again; the old one is kept")
    add_examples(
        parser,
        "corpus build manifests/corpora/quickstart.yaml --recordings FOLDER",
        "corpus build manifests/corpora/quickstart.yaml --recordings FOLDER --set shards.soft_mb=256",
    )


def main(args: argparse.Namespace) -> int:
    """Catalog the folder if it is not one yet, then build; both are nodes, so both are skipped when made before."""
    from infra.manifest import load
    from infra.settings import settings_of
    from infra.workflow.node import Refused
    from infra.workflow.single import single
    from pipelines.locate import CATALOG, folder_override, is_bare_folder, node_name
    from pipelines.manifest import CorpusManifest

    overrides = settings_of(args.set)
    manifest = load(CorpusManifest, args.manifest, overrides)
    place: Path = args.recordings
    if not place.exists():  # before a run of its own is begun, and has failed
        raise Refused(f"{place}: no such folder of recordings")
    if manifest.reader.name == "jsonl" and is_bare_folder(place):
        name = f"recordings_of_{node_name(manifest)}"
        place = single("recordings", CATALOG, overrides=folder_override(place), name=name).out
    made = single(
        "corpus",
        args.manifest,
        inputs={"recordings": place},
        overrides=overrides,
        name=node_name(manifest),
        force=args.force,
    )
    print(made.out)
    return 0
