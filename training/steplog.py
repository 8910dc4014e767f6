"""losses.jsonl: what every step and every validation of a stage came to, and the same in the journal of its run."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from infra.journal import JournalWriter
from infra.storage import named, write_atomic
from training.objectives import StepReport
from training.speed import Speed
from training.validate import LOSS, Held

LOSSES = "losses.jsonl"
GROUPS = 12
"""Corpora, and languages, that have a curve of their own: a run has at most 60. losses.jsonl has all of them."""


class StepLog:
    """losses.jsonl: one line a step, written at once; and every few steps the same in the journal of the run."""

    def __init__(self, path: Path, *, journal: str | None, first: int, every: int, speed: Speed | None = None) -> None:
        self.every, self.speed = every, speed or Speed()
        kept = [line for line in read_log(path) if line["step"] <= first] if first else []
        write_atomic(path, "".join(json.dumps(line) + "\n" for line in kept))
        self.path, self.file = path, path.open("a", encoding="utf-8", buffering=1)
        self.journal = None if journal is None else JournalWriter(Path(journal), "worker-0")

    def write(
        self,
        report: StepReport,
        *,
        seconds: float,
        waited: float,
        audio_seconds: float,
        beside: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """One step: its whole time, of it what was spent waiting for data, and what came between it and the one before
        (training.speed.BESIDE)."""
        self.speed.add(seconds=seconds, waited=waited, audio_seconds=audio_seconds, **beside)
        line = {
            "step": report.step,
            "losses": report.losses,
            "grad_norms": report.grad_norms,
            "lr": report.lr,
            "seconds": round(seconds, 4),
            "waited": round(waited, 4),
            **{name: round(spent, 4) for name, spent in beside.items() if spent >= 1e-4},
            "audio_seconds": round(audio_seconds, 3),
        }
        self.add(line)
        if self.journal is not None and report.step % self.every == 0:
            values = {f"loss/{name}": value for name, value in report.losses.items()}
            values |= {f"grad_norm/{name}": value for name, value in report.grad_norms.items()}
            values |= {f"lr/{name}": value for name, value in report.lr.items()}
            self.journal.metrics(values | self.speed.told(), step=report.step)

    def add(self, line: Mapping[str, Any]) -> None:
        """A line of losses.jsonl."""
        with named(self.path):
            self.file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        """No more."""
        with named(self.path):
            self.file.close()
        if self.journal is not None:
            self.journal.sync()
            self.journal.close()

    def validation(self, step: int, found: Held) -> None:
        """Losses on the held-out samples; in the journal, of groups only what is minimized, of the largest ones."""
        line = {"step": step, "validation": found.terms, "by_corpus": found.by_corpus, "by_language": found.by_language}
        self.add(line)
        if self.journal is not None:
            values = {f"validation/{name}": value for name, value in found.terms.items()}
            for kind, groups in (("corpus", found.by_corpus), ("language", found.by_language)):
                largest = list(groups.items())[:GROUPS]
                values |= {f"validation_{kind}/{name}": terms[LOSS] for name, terms in largest}
            self.journal.metrics(values, step=step)


def read_log(path: Path) -> list[dict[str, Any]]:
    """Lines of losses.jsonl; torn ones are left out: the last one, and what a power cut made of those before it."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]:
        with suppress(ValueError):
            found.append(json.loads(line))
    return [line for line in found if isinstance(line, dict) and "step" in line]
