"""`stipple corpus ...`: plan, build, and look into corpora; one file a verb, in pipelines/verbs."""

import argparse
import importlib
import pkgutil

from pipelines import verbs

SUMMARY = "build and inspect corpora"
VERBS = {item.name: f"{verbs.__name__}.{item.name}" for item in pkgutil.iter_modules(verbs.__path__)}
"""Verb -> its module: `SUMMARY`, `add_arguments(parser)` and `main(args)`, as a command of `infra.cli` has them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verbs."""
    commands = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, place in VERBS.items():
        module = importlib.import_module(place)
        module.add_arguments(commands.add_parser(verb, help=module.SUMMARY, description=module.SUMMARY))


def main(args: argparse.Namespace) -> int:
    """Exit codes: 0 done, 1 failed, or damage was found."""
    return int(importlib.import_module(VERBS[args.verb]).main(args))
