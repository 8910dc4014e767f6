"""What a stage came to, for people: progress, first and last losses, curves, and the digest of the bundle."""

import hashlib
import io
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.log import clock
from infra.storage import write_bytes
from training.manifest import StageManifest
from training.speed import BESIDE


@dataclass
class Pace:
    """What the steps of a stage that is watched have taken, and what came between them."""

    manifest: StageManifest
    recent: deque[Mapping[str, Any]] = field(default_factory=lambda: deque(maxlen=20))
    """The last steps."""
    first: int | None = None
    """The first step that was seen."""
    beside: dict[str, float] = field(default_factory=lambda: dict.fromkeys(BESIDE, 0.0))
    """Seconds that were not spent in steps, since then."""

    def add(self, step: Mapping[str, Any]) -> None:
        """One more step."""
        self.first = step["step"] if self.first is None else self.first
        self.recent.append(step)
        for name in BESIDE:
            self.beside[name] += step.get(name, 0.0)

    def left(self) -> float:
        """Seconds to the end of the last step, and of what comes between: each at its mean so far. What was not yet
        seen once is not counted."""
        steps, at = self.manifest.steps, self.recent[-1]["step"]
        seconds: float = (steps - at) * sum(line["seconds"] for line in self.recent) / len(self.recent)
        every = (self.manifest.validate_every, self.manifest.sample_every, self.manifest.checkpoint_every)
        for name, often in zip(BESIDE, every, strict=True):  # what comes after step n stands in the line of step n + 1
            at_once = name == "validating" and self.first == 1  # before the first step, too
            seen = self.manifest.times_due(often, after=(self.first or 1) - 1, until=at - 1) + at_once
            if seen:
                mean = self.beside[name] / seen
                seconds += mean * self.manifest.times_due(often, after=at - 1, until=steps)
        return seconds

    def told(self) -> str:
        """One line: step, losses now, audio seconds a second of the steps, and the time that is left."""
        last = self.recent[-1]
        losses = "  ".join(f"{name} {value:.3g}" for name, value in last["losses"].items())
        audio, spent = (sum(line[name] for line in self.recent) for name in ("audio_seconds", "seconds"))
        done = f"step {last['step']}/{self.manifest.steps}"
        return f"{done}  {losses}  {audio / spent:.1f} s audio/s  {clock(self.left())} left"


def first_and_last(lines: Sequence[Mapping[str, Any]]) -> tuple[dict[str, float], dict[str, float], int]:
    """Mean of every term over the first and over the last tenth of the steps, and how many steps that is."""
    steps = [line["losses"] for line in lines if "losses" in line]
    over = max(1, round(len(steps) / 10))

    def mean(part: Sequence[Mapping[str, float]]) -> dict[str, float]:
        names = list(dict.fromkeys(name for losses in part for name in losses))
        return {name: float(f"{_mean([x[name] for x in part if name in x]):.6g}") for name in names}

    return mean(steps[:over]), mean(steps[-over:]), over


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def first_to_last(summary: Mapping[str, Any]) -> str:
    """`mel 7.9 -> 3.3 (held out 8 -> 3.2), ...`: what the quickstart prints of a stage, from its summary."""
    first, last = summary["first"], summary["last"]
    before, after = summary["validation_first"], summary["validation"]
    pairs = []
    for name in first:
        if name in last:
            held = f" (held out {before[name]:.3g} -> {after[name]:.3g})" if name in before and name in after else ""
            pairs.append(f"{name} {first[name]:.3g} -> {last[name]:.3g}{held}")
    over = (
        f"mean of the first and the last {summary['over']} steps"
        if summary["over"] > 1
        else "of the first and last step"
    )
    return f"losses, {over}: " + ", ".join(pairs)


def draw(lines: Sequence[Mapping[str, Any]], path: Path, *, title: str) -> None:
    """Curves of every term (and its value on held-out samples), and of what is minimized by corpus and by language."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    steps = [line for line in lines if "losses" in line]
    names = list(dict.fromkeys(name for line in steps for name in line["losses"]))
    groups = [kind for kind in ("by_corpus", "by_language") if any(len(line.get(kind, {})) > 1 for line in lines)]
    columns = min(3, max(1, len(names) + len(groups)))
    rows = -(-(len(names) + len(groups)) // columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(4.2 * columns, 2.8 * rows), squeeze=False)
    for axis in axes.flat[len(names) + len(groups) :]:
        axis.set_axis_off()
    for axis, kind in zip(axes.flat[len(names) :], groups, strict=False):
        draw_groups(axis, lines, kind=kind)
    for axis, name in zip(axes.flat, names, strict=False):
        own = [(line["step"], line["losses"][name]) for line in steps if name in line["losses"]]
        axis.plot(*zip(*own, strict=True), linewidth=0.9, label="training")
        held = [(line["step"], line["validation"][name]) for line in lines if name in line.get("validation", {})]
        if held:
            axis.plot(*zip(*held, strict=True), "o", markersize=4, label="held out")
        axis.legend(fontsize=8)
        axis.set_title(name, fontsize=9)
        axis.tick_params(labelsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("step", fontsize=8)
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=100)
    write_bytes(path, drawn.getvalue())
    pyplot.close(figure)


def draw_groups(axis: Any, lines: Sequence[Mapping[str, Any]], *, kind: str, most: int = 10) -> None:
    """What is minimized on held-out samples, a curve a corpus or a language; of many, those with most samples."""
    held = [line for line in lines if kind in line]
    for name in list(dict.fromkeys(name for line in held for name in line[kind]))[:most]:
        own = [(line["step"], line[kind][name]["loss"]) for line in held if name in line[kind]]
        axis.plot(*zip(*own, strict=True), "o-", markersize=3, linewidth=0.9, label=name)
    axis.legend(fontsize=6)
    axis.set_title(f"held out, {kind.replace('_', ' ')}", fontsize=9)
    axis.tick_params(labelsize=8)


def bundle_digest(folder: Path) -> str:
    """sha256 over every file of a bundle but its card, latent statistics by their numbers; 32 hex digits."""
    import torch

    state = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name == "stipple.json":
            continue
        state.update(path.relative_to(folder).as_posix().encode() + b"\0")
        if path.suffix == ".pt":
            for name, tensor in sorted(torch.load(path, weights_only=True).items()):
                state.update(name.encode() + tensor.float().numpy().tobytes())
        else:
            with path.open("rb") as file:
                state.update(hashlib.file_digest(file, "sha256").digest())
    return state.hexdigest()[:32]


def missed(found: Mapping[str, float], *, below: Mapping[str, float]) -> str:
    """Terms that were measured and did not come below their bars, in words; nothing where all did."""
    high = [term for term, value in below.items() if term in found and not found[term] < value]
    return ", ".join(f"{term} is {found[term]:.4g}, not below {below[term]:g}" for term in high)


def of_bar(found: Mapping[str, float], *, below: Mapping[str, float]) -> str:
    """Whether a stage came below its bars, a sentence; of terms that were not measured, that they were not."""
    absent = ", ".join(sorted(set(below) - set(found)))
    if set(below).isdisjoint(found):
        return f"its bar says nothing: not measured on so few samples: {absent}"
    if high := missed(found, below=below):
        how = f"it has learned less than its manifest expects, held out: {high}"
    else:
        how = "its bar is passed, as far as it was measured" if absent else "its bar is passed"
    return f"{how}; not measured on so few samples: {absent}" if absent else how
