"""What the documents name is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("*/README.md"))]
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
PATH = re.compile(r"\b(?:manifests|tests|infra|models|training|pipelines)/[\w./*-]+\.(?:yaml|py|sh|txt|md)\b")
NAMED_TEST = re.compile(r"`((?:pipelines|models|training|infra|system)/[\w./*-]*)`")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_files_of_a_document_are_there(document: Path) -> None:
    text = document.read_text()
    missing = [link for link in LINK.findall(text) if not (document.parent / link).exists()]
    missing += [path for path in PATH.findall(text) if not [*ROOT.glob(path), *document.parent.glob(path)]]
    assert missing == []


def test_the_proofs_that_are_named_are_there() -> None:
    named = NAMED_TEST.findall((ROOT / "tests" / "README.md").read_text())
    assert len(named) > 40
    assert [path for path in named if not [*(ROOT / "tests").glob(path)]] == []
