"""What the documents name is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("*/README.md"))]
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
ANCHOR = re.compile(r"\]\(([^)#:]*)#([^)]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
PATH = re.compile(r"\b(?:manifests|tests|infra|models|training|pipelines)/[\w./*-]+\.(?:yaml|py|sh|txt|md)\b")
COMMAND = re.compile(r"\bstipple ((?!\w+ \.\.\.)[a-z](?:(?!stipple )[^`\n·])*)")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
NAMED_TEST = re.compile(r"`((?:pipelines|models|training|infra|system)/[\w./*-]*)`")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_files_of_a_document_are_there(document: Path) -> None:
    text = document.read_text()
    missing = [link for link in LINK.findall(text) if not (document.parent / link).exists()]
    missing += [path for path in PATH.findall(text) if not [*ROOT.glob(path), *document.parent.glob(path)]]
    assert missing == []


def anchors(document: Path) -> set[str]:
    """What a link into the document may end in: its headings, in small letters, with hyphens for blanks."""
    return {
        re.sub(r"[^a-z0-9_ -]", "", told.lower()).replace(" ", "-") for told in HEADING.findall(document.read_text())
    }


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_headings_that_are_there(document: Path) -> None:
    found = ANCHOR.findall(document.read_text())
    assert [name for file, name in found if name not in anchors(document.parent / file if file else document)] == []


def test_commands_of_the_documents_are_there_and_every_command_is_in_one() -> None:
    """`tests/golden/commands.txt` holds those that are there, by another test."""
    lines = (ROOT / "tests" / "golden" / "commands.txt").read_text().splitlines()
    known = {name.removeprefix("stipple "): words.split() for name, _, words in (line.partition(":") for line in lines)}
    named, wrong = set(), []
    for document in DOCUMENTS:
        for told in COMMAND.findall(document.read_text()):
            words = told.replace(";", " ").split()
            name = next((name for name in (" ".join(words[:2]), words[0]) if name in known), None)
            named.add(name)
            wrong += [f"{document.parent.name}: stipple {told}"] if name is None else []
            wrong += [f"stipple {name}: {flag}" for flag in FLAG.findall(told) if flag not in known.get(name or "", [])]
    assert wrong == []
    assert {name for name in known if not any(other.startswith(f"{name} ") for other in known)} <= named


def test_the_proofs_that_are_named_are_there() -> None:
    named = NAMED_TEST.findall((ROOT / "tests" / "README.md").read_text())
    assert len(named) > 40
    assert [path for path in named if not [*(ROOT / "tests").glob(path)]] == []
