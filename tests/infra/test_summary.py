"""What a person reads when a workflow has ended."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from infra.workflow.node import Made
from infra.workflow.summary import NodeResult, table


def row(kind: str, summary: dict[str, Any], *, result: str = "made", note: str = "") -> NodeResult:
    made = Made(kind=kind, name="x", out=Path("x"), digest="d", fingerprint="f", run="r", summary=summary)
    node: Any = SimpleNamespace(kind=kind)
    return NodeResult(node=node, result=result, note=note, seconds=65.0, made=made if result == "made" else None)


def test_each_kind_of_node_says_what_it_gave() -> None:
    means = {"bundle/wer": 0.25, "bundle/wer_scored": 4.0, "recordings/wer": 0.05, "recordings/wer_scored": 4.0}
    rows = {
        "corpus": row("corpus", {"samples": 58, "hours": 0.05, "hours_in": 0.1}),
        "stage": row("train", {"first": {"flow": 2.0, "gone": 1.0}, "last": {"flow": 1.5}}),
        "speech": row("eval", {"means": means}),
        "later": row("train", {}, result="failed", note="no room on the disk"),
        "other": row("train", {}, result="left"),
    }
    told = [" ".join(line.split()) for line in table(rows)]
    assert told == [
        "corpus made 1 min 05 s", "58 samples, 3 min 00 s of the 6 min 00 s that came in",
        "stage made 1 min 05 s", "flow 2 -> 1.5",
        "speech made 1 min 05 s", "wer bundle 0.25, recordings 0.05",
        "later failed 1 min 05 s no room on the disk",
    ]  # fmt: skip
