"""Examples under the help of a command."""

import argparse


class Formatter(argparse.HelpFormatter):
    """Keeps the lines of a text that has several, and wraps all others."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines = text.splitlines()
        return "\n".join(indent + line for line in lines) if len(lines) > 1 else super()._fill_text(text, width, indent)


def add_examples(parser: argparse.ArgumentParser, *lines: str) -> None:
    """Commands as a person types them, behind `stipple`."""
    parser.formatter_class = Formatter
    parser.epilog = "\n".join(["examples:", *(cut(f"  stipple {line}") for line in lines)])


def cut(line: str, *, width: int = 78) -> str:
    """A command that is longer than a terminal is wide goes on in a second line, before an option."""
    if len(line) <= width:
        return line
    place = line.rindex(" --", 0, width - 1)
    return f"{line[:place]} \\\n    {line[place:]}"
