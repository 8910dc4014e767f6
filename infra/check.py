"""`stipple check`: every manifest is valid? All mistakes of all files at once; nothing is run."""

import argparse
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from infra.manifest import Manifest, ManifestError, load
from infra.storage import ROOT, root_of
from infra.workflow.graph import build
from infra.workflow.manifest import WorkflowManifest
from infra.workflow.node import KINDS

SUMMARY = "validate manifests; nothing is run"

FOLDERS = {
    "recordings": f"{KINDS['recordings']}:MANIFEST",
    "corpora": f"{KINDS['corpus']}:MANIFEST",
    "train": f"{KINDS['train']}:MANIFEST",
    "eval": f"{KINDS['eval']}:MANIFEST",
    "models": "training.manifest:ModelManifest",
    "clusters": "infra.cluster:ClusterManifest",
    "storage": "infra.buckets:Storage",
    "workflows": "infra.workflow.manifest:WorkflowManifest",
}
"""Folder of manifests/ -> the manifest that its files hold. By name, since infra imports nothing above it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Files or folders; all of manifests/ by default."""
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="files or folders (default: manifests/)")


def main(args: argparse.Namespace) -> int:
    """Exit codes: 0 all are valid, 2 some are not."""
    files = files_in(args.paths or [ROOT / "manifests"])
    wrong = 0
    for file in files:
        try:
            check(file)
        except ManifestError as error:
            wrong += len(error.problems)
            print(error)
    if wrong:
        print(f"{wrong} mistake{'s' if wrong > 1 else ''} in {len(files)} manifest{'s' if len(files) > 1 else ''}")
        return 2
    print("1 manifest is valid" if len(files) == 1 else f"{len(files)} manifests are valid")
    return 0


def files_in(paths: list[Path]) -> list[Path]:
    """YAML files, in order.

    Raises: ManifestError for paths that are not there, and for folders in which none is.
    """
    found = {path: sorted(path.rglob("*.yaml")) if path.is_dir() else [path] for path in paths}
    wrong = [f"{path}: no such file or folder" for path in paths if not path.exists()]
    wrong += [f"{path}: no .yaml file in this folder" for path, files in found.items() if not files]
    if wrong:
        raise ManifestError("command line", wrong)
    return [file for files in found.values() for file in files]


def check(file: Path, folders: Mapping[str, str] = FOLDERS) -> Manifest:
    """Read one manifest as what its folder says it is; a workflow with all the manifests that it names.

    Raises: ManifestError.
    """
    kind = kind_of(file, folders)
    manifest = load(manifest_of(folders[kind]), file)
    if isinstance(manifest, WorkflowManifest):
        build(manifest, root=root_of(file))
    return manifest


def kind_of(file: Path, folders: Mapping[str, str]) -> str:
    """The folder, at any height above the file, that says what the file is."""
    for parent in file.resolve().parents:
        if parent.name in folders and parent.parent.name == "manifests":
            return parent.name
    raise ManifestError(str(file), [f"lies in none of the folders manifests/{{{', '.join(folders)}}}: what is it?"])


def manifest_of(where: str) -> type[Manifest]:
    """The manifest class that `module:name` stands for."""
    module, _, name = where.partition(":")
    return cast(type[Manifest], getattr(importlib.import_module(module), name))
