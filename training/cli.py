"""`stipple train ...`: run one stage, go on with it, look at what it would cost, take a bundle out of it."""

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from infra.examples import add_examples
from infra.settings import add_set, settings_of

if TYPE_CHECKING:
    from infra.buckets import Storage

SUMMARY = "run one training stage"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verbs."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, told in (
        ("run", "train a stage, from where an earlier attempt left it"),
        ("resume", "the same, but refuse where there is nothing to go on with"),
        ("plan", "say what `run` would do: audio, parameters, memory, operations, time, cost"),
    ):
        sub = verbs.add_parser(verb, help=told, description=told)
        sub.add_argument("manifest", type=Path, help="a manifest in manifests/train/")
        sub.add_argument(
            "--data",
            action="append",
            default=[],
            required=verb != "plan",
            metavar="CORPUS",
            help="a corpus: its folder, name or URL; data_NAME=CORPUS for another one of the mixture",
        )
        sub.add_argument("--storage", type=Path, metavar="MANIFEST", help="how the object store of the URL is reached")
        sub.add_argument(
            "--cluster", type=Path, metavar="MANIFEST", help="a manifest in manifests/clusters/; laptop.yaml by default"
        )
        sub.add_argument(
            "--from",
            dest="start_from",
            type=Path,
            metavar="BUNDLE",
            help="a bundle, or the name of a stage",
        )
        add_set(sub)
        if verb == "run":
            sub.add_argument("--force", action="store_true", help="train it again; the old one is kept")
        add_examples(
            sub,
            f"train {verb} manifests/train/tiny/audiovae_stage1.yaml --data CORPUS",
            f"train {verb} manifests/train/tiny/soar.yaml --data CORPUS --from BUNDLE --set steps=200",
        )
    told = "run some steps of a stage again, and hold them against what was written"
    sub = verbs.add_parser("replay", help=told, description=told)
    sub.add_argument("stage", type=Path, help="a stage in the store: its name, or its folder (with state.json)")
    sub.add_argument("--steps", required=True, metavar="A..B", help="from the A-th to the B-th update, counted from 1")
    told = "write the bundle of a stage, finished or not, as an official directory"
    sub = verbs.add_parser("export", help=told, description=told)
    sub.add_argument("stage", type=Path, help="a stage in the store: its name, or its folder (with state.json)")
    sub.add_argument("to", type=Path, help="an empty or absent folder")
    sub.add_argument("--whole", action="store_true", help="keep what only training needs (discriminator, flow)")


def main(args: argparse.Namespace) -> int:
    """Data to stdout, progress to stderr."""
    verbs = {"run": run, "resume": resume, "plan": plan, "replay": replay, "export": export}
    return verbs[args.verb](args)


def run(args: argparse.Namespace, *, resume: bool = False) -> int:
    """Train, which says what the losses came to, and print where the bundle lies."""
    from infra.workflow.single import CLUSTER, Where, single

    made = single(
        "train",
        args.manifest,
        inputs=inputs_of(args),
        overrides=settings_of(args.set),
        where=Where(cluster=args.cluster or CLUSTER, storage=storage_of(args)),
        force=getattr(args, "force", False),
        resume=resume,
    )
    print(made.out / "bundle")
    return 0


def resume(args: argparse.Namespace) -> int:
    """`run`, where an attempt was begun with these very values and not finished.

    Raises: Refused.
    """
    return run(args, resume=True)


def storage_of(args: argparse.Namespace) -> "Storage | None":
    """How the object store is reached, where a manifest says it.

    Raises: ManifestError.
    """
    from infra.buckets import Storage
    from infra.manifest import load

    return load(Storage, args.storage) if args.storage else None


def inputs_of(args: argparse.Namespace) -> dict[str, str | Path]:
    """Roles and the folders that were given for them.

    Raises: ManifestError.
    """
    given: dict[str, str | Path] = corpora_of(args.data)
    return given if args.start_from is None else {**given, "start_from": args.start_from}


def corpora_of(words: list[str]) -> dict[str, str | Path]:
    """`--data` words by their roles.

    Raises: ManifestError where a role is given twice.
    """
    from infra.manifest import ManifestError

    found: dict[str, str | Path] = {}
    for word in words:
        role, equals, place = word.partition("=")
        role, place = (role, place) if equals and re.fullmatch(r"data(_[a-z0-9_]+)?", role) else ("data", word)
        if role in found:
            told = f"--data {word}: there is a corpus for {role!r}; write data_NAME={word} for another of the mixture"
            raise ManifestError("command line", [told])
        found[role] = place
    return found


def plan(args: argparse.Namespace) -> int:
    """Print what would be done; nothing is started."""
    from infra.cluster import ClusterManifest
    from infra.manifest import load
    from infra.workflow.elsewhere import place_named
    from infra.workflow.single import CLUSTER, STORE
    from infra.workflow.store import Store
    from infra.workflow.summary import shown
    from training.manifest import StageManifest
    from training.plan import lines

    manifest = load(StageManifest, args.manifest, settings_of(args.set))
    named = args.cluster or CLUSTER
    store = Store(STORE)
    corpora = corpora_of(args.data)
    for line in lines(
        manifest,
        data={
            role: place if "://" in str(place) else place_named(place, store, kind="corpus")
            for role, place in corpora.items()
        },
        start_from=args.start_from and place_named(args.start_from, store, kind="train"),
        storage=storage_of(args),
        cluster=load(ClusterManifest, named),
        named=shown(named),
    ):
        print(line)
    return 0


def replay(args: argparse.Namespace) -> int:
    """Say `equal`, or what differs first; 1 then.

    Raises: ManifestError, Refused.
    """
    import sys

    from infra.manifest import ManifestError
    from infra.workflow.fingerprint import changed_files
    from training.replay import changed_since
    from training.replay import replay as again

    first, dots, last = args.steps.partition("..")
    if not (dots and first.isdigit() and last.isdigit()):
        raise ManifestError("command line", [f"--steps {args.steps}: write A..B, like 100..120"])
    stage = stage_at(args.stage)
    found = again(stage, first=int(first), last=int(last), say=lambda line: print(line, file=sys.stderr))
    print(f"steps {args.steps}: equal" if found is None else f"steps {args.steps}: {found}")
    if found is not None and (changed := changed_since(stage)):
        print(f"{changed_files(changed)} since the stage ran, which may be why", file=sys.stderr)
    return 0 if found is None else 1


def stage_at(word: Path) -> Path:
    """The folder of a stage: a path, or what a name of the store means.

    Raises: Refused
    """
    from infra.workflow.elsewhere import place_named
    from infra.workflow.single import STORE
    from infra.workflow.store import Store

    return word if word.exists() else place_named(word, Store(STORE), kind="train").parent


def export(args: argparse.Namespace) -> int:
    """Write the bundle, and print its folder."""
    from training.export import export as write

    print(write(stage_at(args.stage), to=args.to, whole=args.whole))
    return 0
