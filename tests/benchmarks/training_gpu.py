"""Training on one GPU: the 2B backbone's step and its MFU, ZeRO over nccl, the AudioVAE's step; and is it right?

    PYTHONPATH=. python tests/benchmarks/training_gpu.py [--out DIR] [--only eager compiled ...]
    PYTHONPATH=. python tests/benchmarks/training_gpu.py --device cpu --config medium      (does it run?)

Every part is a process with a time limit; they are started together, since importing takes long, and have the GPU one
after the other; `compiled` compiles before its turn. What is printed goes to --out as well: PART.json. No Ray, no
corpus: prepared micro-batches of random latents through the player, the engine and the update that a stage uses. MFU is
the operations that training.speed counts over what a product of large bfloat16 matrices reaches on this card; `needed`
leaves out the pairs of the head that the mask hides; `sheet` is over the 989 TFLOP/s of the data sheet (H100 and H200,
dense).
"""

import argparse
import contextlib
import faulthandler
import gc
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

PARTS = {
    "stages": ("training_gpu_check", "stages", 32),
    "check": ("training_gpu_check", "numbers", 35),
    "compiled": ("training_gpu_backbone", "compiled", 32),
    "eager": ("training_gpu_backbone", "eager", 24),
    "audiovae": ("training_gpu_audiovae", "measure", 30),
    "zero": ("training_gpu_zero", "measure", 35),
}
"""Name -> module, function, seconds that it adds to the limit: what a part leaves is there for the next."""
UNTIMED = ("check", "stages")
"""They say what is right and not how fast it is, and run beside one another."""


@dataclass
class Report:
    """What a part has to say, kept in a file at every line."""

    part: str
    device: torch.device
    config: str
    out: Path
    began: float = field(default_factory=time.monotonic)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def say(self, text: str, **numbers: Any) -> None:
        """A line for a person, and its numbers for the file."""
        print(f"{self.part:9}{time.monotonic() - self.began:5.0f} s  {text}", flush=True)
        self.rows.append({"line": text, **numbers})
        (self.out / f"{self.part}.json").write_text(json.dumps(self.rows, indent=1))

    def turn(self, *modules: str) -> None:
        """Import what is imported late, since that takes long; then wait until the GPU is free for this part."""
        for module in modules:
            importlib.import_module(module)
        sys.stdin.readline()
        with contextlib.suppress(OSError):  # only root may
            os.setpriority(os.PRIO_PROCESS, 0, 0)
        self.began = time.monotonic()

    def called(self) -> bool:
        """Is it this part's turn already, while it prepares?"""
        return bool(select.select([sys.stdin], [], [], 0)[0])

    def attempt(self, name: str, run: Callable[[], None]) -> None:
        """Run it; what goes wrong is a line, and the next one is tried."""
        try:
            run()
        except (RuntimeError, ValueError, TypeError, AttributeError, AssertionError, ImportError, KeyError) as error:
            self.say(f"{name}: FAILED, {type(error).__name__}: {str(error).strip()[:600]}", failed=True)
            error.__traceback__ = None  # or what it holds stays in memory
        gc.collect()
        if self.on_gpu:
            torch.cuda.empty_cache()

    @property
    def on_gpu(self) -> bool:
        """Is this the real thing?"""
        return self.device.type == "cuda"

    def wait(self) -> None:
        """Until the device has done all that was asked."""
        if self.on_gpu:
            torch.cuda.synchronize()

    def timed(self, step: Callable[[], object], *, warm: int = 2, steps: int = 4) -> float:
        """Seconds of a call, the mean of some after others that do not count."""
        if not self.on_gpu:
            warm, steps = 0, 1
        for _ in range(warm):
            step()
        self.wait()
        began = time.perf_counter()
        for _ in range(steps):
            step()
        self.wait()
        return (time.perf_counter() - began) / steps

    def profile(self, name: str, step: Callable[[], object], *, rows: int = 8) -> None:
        """Which kernels a step is made of, and how much of it the device was busy."""
        from torch.profiler import ProfilerActivity, profile

        self.timed(step, warm=0, steps=1)
        with profile(activities=[ProfilerActivity.CUDA if self.on_gpu else ProfilerActivity.CPU]) as found:
            spent = self.timed(step, warm=0, steps=1)
        time_of = "self_device_time_total" if self.on_gpu else "self_cpu_time_total"
        kernels = sorted(found.key_averages(), key=lambda one: -getattr(one, time_of))
        busy = sum(getattr(one, time_of) for one in kernels) / 1e6
        calls = sum(one.count for one in kernels if getattr(one, time_of) > 0)  # what launches them is listed, too
        self.say(
            f"profile of {name}: {1000 * spent:.0f} ms, kernels {1000 * busy:.0f} ms in {calls} calls",
            kernels={one.key: [getattr(one, time_of) / 1e3, one.count] for one in kernels[:60]},
        )
        for one in kernels[:rows]:
            self.say(f"   {getattr(one, time_of) / 1e3:7.2f} ms {one.count:6} x {one.key[:90]}")

    def peak(self) -> str:
        """The most memory since the last call, in words."""
        if not self.on_gpu:
            return "no GPU"
        found = torch.cuda.max_memory_allocated() / 2**30
        torch.cuda.reset_peak_memory_stats()
        return f"{found:.1f} GiB"


def run_part(args: argparse.Namespace) -> None:
    """In a process of its own: import, prepare, wait for one's turn, measure. It ends without tidying up."""
    faulthandler.enable()
    os.nice(10)
    module, name, _ = PARTS[args.part]
    measure = getattr(importlib.import_module(module), name)
    report = Report(args.part, torch.device(args.device), args.config, args.out)
    report.attempt(args.part, lambda: measure(report))
    sys.stdout.flush()
    os._exit(0)


def main() -> None:
    """Start the parts, and give the GPU to one after the other."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--out", type=Path, default=Path("/tmp/training_gpu"))
    words.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    words.add_argument("--config", default="dots_tts_2b", help="medium, or the name of a file of manifests/models")
    words.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    words.add_argument("--patience", type=float, default=1.0, help="times the limits")
    words.add_argument("--after", type=Path, help="the parts prepare, and have the GPU only when this file is there")
    words.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    args = words.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.part:
        run_part(args)
        return
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])}
    common = ["--out", str(args.out), "--device", args.device, "--config", args.config]
    started = {
        part: subprocess.Popen([sys.executable, __file__, "--part", part, *common], stdin=subprocess.PIPE, env=env)
        for part in PARTS
        if part in args.only
    }
    while args.after and not args.after.exists():
        time.sleep(0.1)
    began, limit = time.monotonic(), 0.0
    for part, process in started.items():
        for other in UNTIMED if part in UNTIMED else (part,):
            if other in started and not started[other].stdin.closed:  # type: ignore[union-attr]
                go(started[other])
        limit += PARTS[part][2] * args.patience
        try:
            end = f"ended with {process.wait(max(0.0, limit - (time.monotonic() - began)))}"
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)  # faulthandler says where it is
            time.sleep(0.5)
            process.kill()
            process.wait()
            end = "stopped at its limit"
        print(f"{part:9}{end}, {time.monotonic() - began:.0f} s after the start", flush=True)


def go(process: "subprocess.Popen[bytes]") -> None:
    """It is its turn."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it has ended
        process.stdin.write(b"go\n")
        process.stdin.close()


if __name__ == "__main__":
    main()
