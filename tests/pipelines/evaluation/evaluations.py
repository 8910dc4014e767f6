"""Whole evaluations of a small bundle on a small corpus, for the tests."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from infra.journal import About, JournalRun
from infra.manifest import parse
from infra.workflow.node import Job, Made, Outcome
from pipelines.evaluation import run
from pipelines.evaluation.manifest import EvalManifest

RECONSTRUCTION: dict[str, Any] = {
    "name": "recon",
    "reconstruction": {"inputs": {"utterances": 2, "max_seconds": 3}},
    "metrics": ["mel"],
    "resamples": 100,
}
SPEECH: dict[str, Any] = {
    "name": "speech",
    "speech": {
        "prompts": {"utterances": 2, "max_seconds": 3},
        "lines": [{"text": "mama memo", "language": "en"}],
        "sampler": {"num_steps": 2, "max_seconds": 0.5, "stop_threshold": 1.0},
    },
    "metrics": ["stops", "speaker"],
    "resamples": 100,
}


def evaluate(manifest: Mapping[str, Any], folder: Path, **inputs: Path) -> tuple[Outcome, dict[str, Any]]:
    """Run it as a workflow would; the outcome and scores.json."""
    kinds = {"bundle": "train", "data": "corpus"}
    made = {
        role: Made(kind=kinds[role], name=role, out=path, digest="d" * 64, fingerprint="f" * 64, run="r" * 32)
        for role, path in inputs.items()
    }
    (folder / "out").mkdir(parents=True)
    (folder / "work").mkdir(exist_ok=True)
    job = Job(
        name="eval",
        manifest=parse(EvalManifest, json.loads(json.dumps(manifest)), where="test"),
        inputs=made,
        out=folder / "out",
        work=folder / "work",
        run=JournalRun(folder / "journal", About("0" * 32, "eval", "test", "eval")),
        connect=lambda: pytest.fail("an evaluation does not need Ray"),
        attempt=1,
        say=lambda line: None,
    )
    outcome = run.run(job)
    return outcome, json.loads((folder / "out" / "scores.json").read_text())
