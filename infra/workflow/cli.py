"""`stipple run`: a workflow, from what is missing to what is asked for."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from infra.cluster import Cluster, ClusterManifest
from infra.examples import add_examples
from infra.log import say
from infra.manifest import ManifestError, did_you_mean, load
from infra.settings import add_set
from infra.shipping import Shipping, default_tracking
from infra.storage import root_of
from infra.workflow.graph import Node, after, build, needed_by, split_overrides
from infra.workflow.manifest import WorkflowManifest
from infra.workflow.node import KINDS
from infra.workflow.plan import plan, why
from infra.workflow.run import WorkflowRun
from infra.workflow.store import Store
from infra.workflow.summary import paths, shown, table

SUMMARY = "run a workflow: make what is missing, skip what is made"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The workflow, and what to do of it."""
    parser.add_argument("workflow", type=Path, help="a manifest in manifests/workflows/")
    add_set(parser, key="NODE.KEY", of="a node's manifest")
    parser.add_argument("--from", dest="first", metavar="NODE", help="only this node and what needs it")
    parser.add_argument("--until", dest="last", metavar="NODE", help="only this node and what it needs")
    parser.add_argument(
        "--force", action="append", default=[], metavar="NODE", help="make it again; the old one is kept"
    )
    parser.add_argument("--jobs", type=count, default=1, metavar="N", help="independent nodes side by side (default 1)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and why")
    parser.add_argument("--why", metavar="NODE", help="name what differs from the nearest earlier fingerprint")
    add_examples(
        parser,
        "run manifests/workflows/quickstart.yaml --dry-run",
        "run manifests/workflows/quickstart.yaml --set recordings.folder=FOLDER",
        "run manifests/workflows/quickstart.yaml --until soar --set soar.steps=200",
        "run manifests/workflows/quickstart.yaml --why soar",
    )


def count(word: str) -> int:
    """A number of jobs.

    Raises: ArgumentTypeError.
    """
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"{word!r} is no number of jobs; give 1 or more")
    return int(word)


def main(args: argparse.Namespace, kinds: Mapping[str, str] = KINDS) -> int:
    """Exit codes: 0 all asked for is made, 1 a node failed, 2 a manifest is wrong, 130 stopped."""
    named = load(WorkflowManifest, args.workflow)
    root = root_of(args.workflow)
    own, of_nodes = split_overrides(args.set, named.nodes)
    workflow = load(WorkflowManifest, args.workflow, own)
    nodes = build(workflow, root=root, overrides=of_nodes, kinds=kinds)
    wanted = wanted_of(nodes, first=args.first, last=args.last, others=[*args.force, args.why])
    store = Store((root / workflow.store).resolve())
    if args.dry_run or args.why:
        plans = plan(nodes, store, wanted=wanted, forced=set(args.force))
        if args.why:
            print("\n".join(why(next(planned for planned in plans if planned.node.name == args.why), store)))
            return 0
        width = max(map(len, nodes))
        print(f"{workflow.name}: {len(nodes)} nodes, store {shown(store.root)}")
        print("\n".join(f"  {planned.node.name:<{width}}  {planned.verdict:<7} {planned.reason}" for planned in plans))
        return 0
    cluster = load(ClusterManifest, root / workflow.cluster)
    tracking = workflow.tracking or default_tracking(store.root)
    with Shipping(store.root, tracking) as shipping, Cluster(cluster) as machines:
        run = WorkflowRun(
            workflow=workflow.name,
            nodes=nodes,
            store=store,
            cluster=machines,
            shipping=shipping,
            experiment=workflow.name,
            wanted=wanted,
            forced=set(args.force),
        )
        try:
            rows = run.go(jobs=args.jobs)
        except KeyboardInterrupt:
            say("stopped; the node at work goes on from its work folder: run the same command again")
            return 130
    print("\n".join(table(rows)))
    print("\n".join(paths(rows)))
    bad = [name for name, row in rows.items() if row.result in ("failed", "blocked")]
    if bad:
        say(f"{workflow.name}: {len(bad)} of {len(rows)} nodes are not made: {', '.join(bad)}")
    return 1 if bad else 0


def wanted_of(nodes: Mapping[str, Node], *, first: str | None, last: str | None, others: list[str | None]) -> set[str]:
    """The nodes that `--from` and `--until` ask for; all names on the command line must be nodes."""
    wrong = [
        f"no node {name!r}{did_you_mean(name, nodes)}; there are: {', '.join(nodes)}"
        for name in [first, last, *others]
        if name is not None and name not in nodes
    ]
    if wrong:
        raise ManifestError("command line", wrong)
    wanted = set(nodes)
    if first is not None:
        wanted &= after(nodes, first)
    if last is not None:
        wanted &= needed_by(nodes, last)
    return wanted
