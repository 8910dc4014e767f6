"""What the tests of the workflow engine ask of a store of toy nodes."""

from pathlib import Path

from infra.workflow.store import Store


def total(folder: Path, node: str) -> int:
    made = next(slot.made() for slot in Store(folder / "store").slots(node) if slot.made())
    assert made is not None
    return int((made.out / "total.txt").read_text())


def visits(folder: Path, node: str) -> list[int]:
    slot = Store(folder / "store").slots(node)[0]
    return [int(line) for line in (slot.work / "visits.txt").read_text().split()]
