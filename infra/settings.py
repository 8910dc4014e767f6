"""The option `--set` of every command that takes a manifest."""

import argparse


def add_set(parser: argparse.ArgumentParser, *, key: str = "KEY", of: str = "the manifest") -> None:
    """`--set KEY=VALUE`, as often as there are keys."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar=f"{key}=VALUE",
        help=f"override a key of {of}; give it again for another key",
    )


def settings_of(words: list[str]) -> dict[str, str]:
    """`--set key=value` words as overrides of one manifest.

    Raises: ManifestError.
    """
    from infra.manifest import ManifestError

    pairs = [word.partition("=") for word in words]
    wrong = [f"--set {key}: write key=value" for key, equals, _ in pairs if not equals or not key]
    if wrong:
        raise ManifestError("command line", wrong)
    return {key: value for key, _, value in pairs}
