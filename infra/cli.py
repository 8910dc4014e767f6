"""The `stipple` command: a table of commands, each a module by name, loaded only when it is chosen."""

import argparse
import importlib
import io
import os
import sys
from collections.abc import Mapping, Sequence

COMMANDS = {
    "run": ("infra.workflow.cli", "run a workflow: make what is missing, skip what is made"),
    "check": ("infra.check", "validate manifests; nothing is run"),
    "doctor": ("infra.doctor", "say what this machine can and cannot run, and the fix"),
    "recordings": ("infra.recordings_cli", "catalog a folder of recordings, or make synthetic ones"),
    "corpus": ("pipelines.cli", "build and inspect corpora"),
    "train": ("training.cli", "run one training stage"),
    "eval": (
        "pipelines.evaluation.cli",
        "score a checkpoint: make speech or reconstructions, measure, and write a report",
    ),
    "say": ("infra.say", "speak a line of text with a bundle"),
    "lineage": ("infra.lineage_cli", "show what a model was made from; ship journals to MLflow"),
}
"""Command -> the module that does it (it exposes SUMMARY, add_arguments(parser), main(args) -> int), and SUMMARY."""
SPIN = {"GOMP_SPINCOUNT": "3000"}
"""How often OpenMP's threads look for work before they sleep. By default they do for milliseconds, and where other work
has the cores speech takes ten times as long; if they sleep at once, each of many small products waits for them. This
costs an idle machine 5 % (`tests/benchmarks/waiting.py`)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Exit codes: 0 done, 1 failed, 2 wrong usage or manifest, 130 stopped by the person."""
    os.environ.update(waiting(os.environ))  # noqa: TID251 - read once, when torch is loaded
    words = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal may not know all letters, and a name be no UTF-8
        sys.stdout.reconfigure(errors="backslashreplace")
    try:  # around the imports, too: they take the first second, in which many change their mind
        parser = build_parser(only=words[0] if words and words[0] in COMMANDS else None)
        args = parser.parse_args(words)
        if args.command is None:
            parser.print_help()
            return 2
        return int(importlib.import_module(COMMANDS[args.command][0]).main(args))
    except KeyboardInterrupt as stopped:
        return tell("; ".join(["stopped", *map(str, stopped.args)]), code=130)
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except Exception as error:
        from infra.mistakes import sentence_of

        known = sentence_of(error)
        if known is None:
            raise
        return tell(known[0], code=known[1])


def waiting(environment: Mapping[str, str]) -> dict[str, str]:
    """SPIN, where nobody has said how threads are to wait."""
    return {} if {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & environment.keys() else dict(SPIN)


def build_parser(*, only: str | None = None) -> argparse.ArgumentParser:
    """The whole parser; with `only`, that command's arguments (and module) alone."""
    parser = argparse.ArgumentParser(
        prog="stipple",
        description="From raw recordings to a streaming voice: corpora, seven training stages, and their lineage.",
        epilog="`stipple COMMAND --help` says more. Data goes to stdout, progress to stderr. "
        "Exit codes: 0 done, 1 failed, 2 wrong usage or manifest.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, (module, summary) in COMMANDS.items():
        sub = commands.add_parser(name, help=summary, description=summary)
        if name == only:
            importlib.import_module(module).add_arguments(sub)
    return parser


def tell(sentence: str, *, code: int) -> int:
    """Print a sentence where people look for it, and hand back the exit code."""
    print(f"stipple: {sentence}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
