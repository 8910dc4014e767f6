"""How fast is this, beside the official package on the same checkpoint, texts and threads?

    PYTHONPATH=. python tests/benchmarks/official.py [--threads 2 1] [--rounds 5] [--only NAME ...]
        [--patches 500] [--official-venv DIR] [--checkpoints DIR]

Both sides are processes that live through a run and take turns (official_theirs.py, official_ours.py); a ratio is ours
over theirs in one round, and what is printed is the median of the rounds (least .. most), of wall and of process time.
Outputs are compared: the same noise must give the same latents, audio, loss and gradients.

The official package is `dots.tts==0.3.1` of PyPI in a virtual environment of its own, made on first use (in
--official-venv, or a temporary folder). To save 8 GB it sees this environment's packages (a .pth file), so that both
sides run the same torch; only the package itself and what is missing here are installed into it. The model is the
medium one of official_model.py, saved by our own code. Needs 2 GB of disk and 6 GB of memory.

Their side is measured as a user of a CPU gets it: with its key-value cache (`optimize=True`) for patches, without for
streams, which would compile there. A bar is met where wall and process time both meet it.

Threads wait for their next share of work as the environment says, for both sides. OpenMP's default is to spin for a
while, which costs process time; with OMP_WAIT_POLICY=PASSIVE they sleep, and each of many small products waits for one
to wake. On a machine that other work shares, spinning takes the time of those that compute: compare on an idle one.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from official_model import ROOT, write_checkpoint
from safetensors.torch import load_file

HERE = Path(__file__).parent
PACKAGES = ("dots.tts==0.3.1", "loguru", "torchdiffeq", "langcodes", "language_data", "marisa-trie")
"""The official package, and what it imports that this project does not."""


@dataclass(frozen=True)
class Measure:
    """One line of the table."""

    name: str
    task: str
    args: dict[str, Any]
    bar: float
    skip: int = 0
    """First items of a round that are not counted."""
    tolerance: float = 2e-3
    """Of the largest value, for what both sides made."""
    checkpoint: str = "medium"
    uncounted: int = 1
    """Rounds before those that count."""


UNLIKE = float("inf")
"""Steps draw their own noise, times and drops; that one step is the official one is tested (test_backbone.py)."""
PATCH = {"count": 24, "steps": 10, "guidance": 1.2, "cached": True}
MEASURES = {
    "patch": Measure("patch, NFE 10, guidance", "patches", PATCH, 0.6, 2),
    "meanflow": Measure(
        "patch, MeanFlow NFE 4", "patches", {**PATCH, "steps": 4, "guidance": 0.0}, 0.6, 2, checkpoint="medium_mf"
    ),
    "vae": Measure("VAE stream step", "vae", {"count": 12}, 0.2, 2),
    "first": Measure("time to first audio", "first_audio", {"steps": 10}, 0.4),
    "head": Measure("head, forward + backward, 30 s", "train", {"seconds": 30.0}, 0.5),
    "step2": Measure(
        "training step, 2 x 4.3 s", "step", {"seconds": [4.32, 4.32], "again": False}, 0.5, tolerance=UNLIKE
    ),
    "again2": Measure("the same clips again", "step", {"seconds": [4.32, 4.32], "again": True}, 0.5, tolerance=UNLIKE),
    "epochs2": Measure(
        "mean step of two epochs", "epochs", {"seconds": [4.32, 4.32], "count": 2}, 0.5, tolerance=UNLIKE
    ),
    "step8": Measure(
        "training step, 8 x 3 to 20 s",
        "step",
        {"seconds": [3, 4, 5, 7, 9, 12, 16, 20], "again": False},
        0.5,
        tolerance=UNLIKE,
        uncounted=0,  # a round takes minutes
    ),
}
"""Each in a fresh pair of processes: the official package rewires its model at its first inference."""


def official_python(folder: Path) -> Path:
    """The Python of a virtual environment with the official package, made where there is none."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        own = sysconfig.get_paths()["purelib"]
        (folder / "lib" / version / "site-packages" / "ours.pth").write_text(own + "\n")
    found = subprocess.run([str(python), "-c", "import dots_tts, loguru, torchdiffeq, langcodes"], capture_output=True)
    if found.returncode:
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", *PACKAGES]
        subprocess.run(pip, check=True, stdout=sys.stderr)
    return python


class Process:
    """One side, alive until closed."""

    def __init__(self, python: Path, program: str, checkpoint: Path, *, threads: int, log: Path) -> None:
        self.log = log
        env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore"}
        self.process = subprocess.Popen(
            [str(python), str(HERE / program), str(checkpoint), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log.open("w"),
            text=True,
            env=env,
        )

    def ask(self, task: str, **args: Any) -> dict[str, Any]:
        """The answer to a task."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"task": task, "args": args}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"a side ended without an answer to {task}:\n{self.log.read_text()[-3000:]}")
        return dict(json.loads(line))

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


@contextmanager
def both(python: Path, checkpoint: Path, *, threads: int, work: Path) -> Iterator[tuple[Process, Process]]:
    """Our side and theirs, on one checkpoint."""
    ours = Process(
        Path(sys.executable), "official_ours.py", checkpoint, threads=threads, log=work / f"ours-{threads}.log"
    )
    theirs = Process(python, "official_theirs.py", checkpoint, threads=threads, log=work / f"theirs-{threads}.log")
    try:
        yield ours, theirs
    finally:
        ours.close()
        theirs.close()


@dataclass
class Rounds:
    """What the rounds of one measure gave: (wall, cpu) of a typical item a round, of each side."""

    ours: list[tuple[float, float]] = field(default_factory=list)
    theirs: list[tuple[float, float]] = field(default_factory=list)
    difference: float = 0.0

    def add(self, ours: dict[str, Any], theirs: dict[str, Any], *, skip: int) -> None:
        """One round."""
        for kept, found in ((self.ours, ours), (self.theirs, theirs)):
            times = found["times"][skip:]
            kept.append((statistics.median(t[0] for t in times), statistics.median(t[1] for t in times)))

    def line(self, measure: Measure) -> str:
        """Of the table."""
        cells, worst = [f"{measure.name:32}"], 0.0
        for which in (0, 1):
            mine = statistics.median(pair[which] for pair in self.ours)
            other = statistics.median(pair[which] for pair in self.theirs)
            ratios = sorted(a[which] / b[which] for a, b in zip(self.ours, self.theirs, strict=True))
            worst = max(worst, statistics.median(ratios))
            cells.append(f"{1000 * mine:9.1f}{1000 * other:9.1f}{statistics.median(ratios):7.2f}")
            cells.append(f"({ratios[0]:.2f} .. {ratios[-1]:.2f})".ljust(16))
        verdict = "met" if worst <= measure.bar else "missed"
        return "".join([*cells, f"{measure.bar:5.1f} {verdict:7}{self.difference:9.1e}"])


def difference(one: Path, other: Path) -> float:
    """Largest difference of what both sides wrote, over the largest value of each tensor."""
    first, second = load_file(one), load_file(other)
    if set(first) != set(second):
        sys.exit(f"the sides wrote unlike tensors: {sorted(set(first) ^ set(second))[:5]}")
    worst = 0.0
    for name, value in first.items():
        if value.shape != second[name].shape:
            sys.exit(f"the sides did unlike work: {name} is {list(value.shape)} and {list(second[name].shape)}")
        largest = float(second[name].abs().max())
        worst = max(worst, float((value - second[name]).abs().max()) / (largest or 1.0))
    return worst


def measured(measure: Measure, sides: tuple[Process, Process], *, rounds: int, work: Path) -> Rounds:
    """Rounds in turn, after those that are not counted."""
    kept = Rounds()
    outs = [work / "ours.safetensors", work / "theirs.safetensors"]
    for number in range(rounds + measure.uncounted):
        ours, theirs = (
            side.ask(measure.task, **measure.args, out=str(out)) for side, out in zip(sides, outs, strict=True)
        )
        if number >= measure.uncounted:
            kept.add(ours, theirs, skip=measure.skip)
    kept.difference = difference(*outs)
    if kept.difference > measure.tolerance:
        sys.exit(f"{measure.name}: the sides differ by {kept.difference:.1e} of the maximum: not the same work")
    return kept


def speaking_memory(python: Path, checkpoint: Path, *, threads: int, work: Path) -> str:
    """Peak memory of fresh processes that load and speak 24 patches as a stream."""
    peaks = []
    with both(python, checkpoint, threads=threads, work=work) as sides:
        for side in sides:
            side.ask("first_audio", steps=10, out=str(work / "memory.safetensors"))
            side.ask("vae", count=12, out=str(work / "memory.safetensors"))
            peaks.append(side.ask("patches", **PATCH, out=str(work / "memory.safetensors"))["peak_mb"])
    verdict = "met" if peaks[0] <= peaks[1] else "missed"
    return f"peak memory, load and speak, MB: {peaks[0]:.0f} ours, {peaks[1]:.0f} theirs: {verdict}"


def limit(sides: tuple[Process, Process], patch_seconds: list[float]) -> Iterator[str]:
    """The physical limit of a patch (NFE 10, guidance), and how far both sides are from it."""
    machine = sides[0].ask("machine")
    bound_s = 10 * machine["head_bytes"] / machine["bytes_s"]
    yield (
        f"matrix rate {machine['flops_s'] / 1e9:.0f} GFLOP/s, memory {machine['bytes_s'] / 1e9:.0f} GB/s; reading the "
        f"head's weights ({machine['head_bytes'] / 1e6:.0f} MB) ten times takes {1000 * bound_s:.0f} ms"
    )
    for name, side, seconds in zip(("ours", "theirs"), sides, patch_seconds, strict=True):
        flops = side.ask("flops", **PATCH)["flops"]
        least = flops / machine["flops_s"]
        yield (
            f"{name:7} {flops / 1e9:6.2f} GFLOP a patch: {1000 * least:.0f} ms at the matrix rate, "
            f"{1000 * seconds:.0f} ms measured, {seconds / least:.1f} times the limit"
        )


def flat(sides: tuple[Process, Process], *, patches: int, work: Path) -> Iterator[str]:
    """The cost of a patch early and late in one generation, the dearest one, and what the history costs at least.

    500 patches take both sides about 10 minutes. Theirs attends to the whole of a cache of 64, 128, 256 or 512 patches:
    beyond 256 its patches cost the same.
    """
    found: dict[tuple[str, str], tuple[float, float]] = {}
    for name, side in zip(("ours", "theirs"), sides, strict=True):
        times = side.ask("patches", **{**PATCH, "count": patches}, out=str(work / "long.safetensors"))["times"]
        for which, clock in ((0, "wall"), (1, "cpu")):
            early = statistics.median(pair[which] for pair in times[1:12])
            late = statistics.median(pair[which] for pair in times[-11:])
            found[name, clock] = early, late
            yield (
                f"{name:7} patch 2..12 {1000 * early:.0f} ms, the last 11 of {patches} {1000 * late:.0f} ms, {clock}: "
                f"{late / early:.2f} times; the dearest {1000 * max(pair[which] for pair in times[1:]):.0f} ms"
            )
    for clock in ("wall", "cpu"):
        (early, late), (their_early, their_late) = found["ours", clock], found["theirs", clock]
        yield f"ours to theirs, {clock}: early {early / their_early:.2f}, late {late / their_late:.2f}"
    machine = sides[0].ask("machine")
    read = PATCH["steps"] * 2 * (patches - 6) * machine["unit_bytes"]
    flops = read / 4 * 2 * 2 * machine["unit"]
    yield (
        f"the history of {patches - 6} patches, for {PATCH['steps']} evaluations and both branches: "
        f"{read / 1e9:.2f} GB, {1000 * read / machine['bytes_s']:.0f} ms at {machine['bytes_s'] / 1e9:.0f} GB/s; "
        f"{flops / 1e9:.1f} GFLOP, {1000 * flops / machine['flops_s']:.0f} ms at {machine['flops_s'] / 1e9:.0f} GFLOP/s"
    )


def main() -> None:
    """Print the tables."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--threads", type=int, nargs="+", default=[2, 1])
    words.add_argument("--rounds", type=int, default=5)
    words.add_argument("--only", nargs="+", choices=[*MEASURES, "flat", "memory"])
    words.add_argument("--patches", type=int, default=500, help="of the generation that `flat` watches")
    words.add_argument("--official-venv", type=Path)
    words.add_argument("--checkpoints", type=Path, help="where the two checkpoints are kept for the next run")
    args = words.parse_args()
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        python = official_python((args.official_venv or work / "official").resolve())
        kept = (args.checkpoints or work).resolve()
        for name, meanflow in (("medium", False), ("medium_mf", True)):
            if not (kept / name / "config.json").exists():
                shutil.rmtree(kept / name, ignore_errors=True)
                write_checkpoint(kept / name, meanflow=meanflow)
        for threads in args.threads:
            report(python, kept, threads=threads, rounds=args.rounds, only=args.only, patches=args.patches, work=work)


def report(
    python: Path, kept: Path, *, threads: int, rounds: int, only: list[str] | None, patches: int, work: Path
) -> None:
    """The table of one number of threads."""

    def wanted(name: str) -> bool:
        return only is None or name in only

    waiting = os.environ.get("OMP_WAIT_POLICY", "OpenMP's default")
    started = f"{time.strftime('%Y-%m-%d %H:%M')}, load {os.getloadavg()[0]:.1f}, threads wait by {waiting}"
    print(f"\n{threads} thread(s), {started}", flush=True)
    clocks = "".join(f"{clock + ', ours':>9}{'theirs':>9}{'ratio':>7}{'':16}" for clock in ("wall ms", "cpu ms"))
    print(f"{'':32}{clocks}{'bar':>5} {'':7}{'differ':>9}")
    for key, measure in MEASURES.items():
        if not wanted(key):
            continue
        with both(python, kept / measure.checkpoint, threads=threads, work=work) as sides:
            found = measured(measure, sides, rounds=rounds, work=work)
            print(found.line(measure), flush=True)
            if key == "patch":
                seconds = [statistics.median(pair[0] for pair in part) for part in (found.ours, found.theirs)]
                print("\n".join(limit(sides, seconds)), flush=True)
    if wanted("flat"):
        with both(python, kept / "medium", threads=threads, work=work) as sides:
            for line in flat(sides, patches=patches, work=work):
                print(line, flush=True)
    if wanted("memory"):
        print(speaking_memory(python, kept / "medium", threads=threads, work=work))
    print(f"load at the end {os.getloadavg()[0]:.1f}", flush=True)


if __name__ == "__main__":
    main()
