"""`stipple eval`: score a bundle by a manifest, outside a workflow but by its rules; compare two evaluations."""

import argparse
import json
import shutil
from dataclasses import asdict
from pathlib import Path

from infra.examples import add_examples
from infra.settings import add_set, settings_of

SUMMARY = "score a checkpoint: make speech or reconstructions, measure, and write a report"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`stipple eval run MANIFEST --of BUNDLE --data CORPUS [--out DIR]`, `stipple eval compare FIRST SECOND`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    one = actions.add_parser("run", help="run one evaluation", description="Run one evaluation and print its numbers.")
    one.add_argument("manifest", type=Path, help="a manifest in manifests/eval/")
    one.add_argument(
        "--of",
        required=True,
        type=Path,
        metavar="BUNDLE",
        help="a bundle, or the name of a stage",
    )
    one.add_argument("--data", type=Path, metavar="CORPUS", help="inputs and prompts come from it")
    one.add_argument("--out", type=Path, metavar="DIR", help="copy report, scores and wavs here (an absent folder)")
    add_set(one)
    one.add_argument("--force", action="store_true", help="measure again; the old artifact is kept")
    add_examples(
        one,
        "eval run manifests/eval/reconstruction.yaml --of BUNDLE --data CORPUS",
        "eval run manifests/eval/speech.yaml --of BUNDLE --data CORPUS --out report",
    )
    two = actions.add_parser(
        "compare",
        help="which of two bundles is better, on the lines that both spoke",
        description="Pair two evaluations line by line, and say in what the second is better.",
    )
    two.add_argument("first", type=Path, metavar="FIRST", help="folder of an evaluation, or its name in the store")
    two.add_argument("second", type=Path, metavar="SECOND", help="the same of another bundle")
    two.add_argument("--json", action="store_true", help="print the numbers as JSON")
    add_examples(two, "eval compare speech_before speech_after")


def main(args: argparse.Namespace) -> int:
    """Exit codes: 0 done, 1 refused."""
    return {"run": evaluate, "compare": compare}[args.action](args)


def compare(args: argparse.Namespace) -> int:
    """Print what the second does better than the first."""
    from infra.workflow.elsewhere import place_named
    from infra.workflow.single import STORE
    from infra.workflow.store import Store
    from pipelines.evaluation import compare

    places = [place_named(word, Store(STORE), kind="eval") for word in (args.first, args.second)]
    found = compare.compare(*map(compare.scores_in, places))
    if args.json:
        print(json.dumps({**asdict(found), "verdicts": {one.name: one.verdict for one in found.measures}}, indent=1))
    else:
        print("\n".join(compare.told(found)))
    return 0


def evaluate(args: argparse.Namespace) -> int:
    """Print the table of means to stdout, and where the report lies."""
    from infra.locks import new_folder
    from infra.workflow.elsewhere import bundle_named
    from infra.workflow.node import Refused
    from infra.workflow.single import STORE, single
    from infra.workflow.store import Store
    from models.runtime.bundle import find_bundle
    from pipelines.evaluation.report import lines

    if args.out is not None and args.out.exists():
        raise Refused(f"{args.out} exists; name a folder that does not, so that nothing is written over")
    inputs = {"bundle": find_bundle(bundle_named(args.of, Store(STORE)))}
    if args.data is not None:
        inputs["data"] = args.data
    made = single("eval", args.manifest, inputs=inputs, overrides=settings_of(args.set), force=args.force)
    place = made.out
    if args.out is not None:
        with new_folder(args.out):
            shutil.copytree(made.out, args.out, dirs_exist_ok=True)
        place = args.out
    facts = json.loads((place / "scores.json").read_text(encoding="utf-8"))
    print("\n".join(lines(facts)))
    print(place / "report.html")
    return 0
