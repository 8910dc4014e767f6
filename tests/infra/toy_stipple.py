"""`stipple run` with toy kinds, as a process of its own that tests can kill."""

import argparse
import sys

from infra.mistakes import sentence_of
from infra.workflow import cli

KINDS = {"toy": "toy_kind", "train": "toy_kind"}


def main() -> int:
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    try:
        return cli.main(parser.parse_args(), KINDS)
    except Exception as error:
        known = sentence_of(error)
        if known is None:
            raise
        print(f"stipple: {known[0]}", file=sys.stderr)
        return known[1]


if __name__ == "__main__":
    sys.exit(main())
