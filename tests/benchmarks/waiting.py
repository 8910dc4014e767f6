"""How should OpenMP's threads wait for their next share of work, on an idle machine and beside other work?

    PYTHONPATH=. python tests/benchmarks/waiting.py [--threads 2] [--rounds 3] [--busy 0 2]

The medium model of the benchmark against the official package, random weights. For each policy a process that lives
through a run; they take turns. What is printed: medians of a step of the AudioVAE's stream and of a patch, wall time,
in milliseconds, beside so many processes that do nothing but compute.
"""

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

POLICIES = {
    "OpenMP's default": {},
    "sleep at once (PASSIVE)": {"OMP_WAIT_POLICY": "PASSIVE"},
    "look 100 times": {"GOMP_SPINCOUNT": "100"},
    "look 1000 times": {"GOMP_SPINCOUNT": "1000"},
    "look 3000 times (stipple)": {"GOMP_SPINCOUNT": "3000"},
    "look 20000 times": {"GOMP_SPINCOUNT": "20000"},
}
STEPS, PATCHES, SKIP = 12, 10, 3


def serve(threads: int) -> None:
    """Answer every line with the medians of both, until the input ends."""
    import torch
    from official_model import random_bundle
    from official_side import TEXT, timed_each, vae_latents

    from models.audiovae.streaming import StreamingDecoder
    from models.runtime.batch import steps
    from models.runtime.draws import Draws
    from models.runtime.request import Request

    torch.set_num_threads(threads)
    bundle = random_bundle("medium", meanflow=True)
    config = bundle.config
    latent = vae_latents(patches=STEPS, patch=config.patch_size, latent=config.latent_dim)
    for _ in sys.stdin:
        decoder = StreamingDecoder(bundle.audiovae)
        sound, _ = timed_each(decoder.push(part) for part in latent.split(config.patch_size, dim=1))
        request = Request(text=TEXT, num_steps=4, max_patches=PATCHES, stop_threshold=1.0, draws=Draws(seed=1))
        speech, _ = timed_each(step.latent_KD for step in steps(bundle, request))
        print(*(statistics.median(wall for wall, _ in part[SKIP:]) for part in (sound, speech)), flush=True)


@contextmanager
def beside(processes: int) -> Iterator[None]:
    """So many processes that compute."""
    made = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in made:
            process.kill()
            process.wait()


def asked(process: "subprocess.Popen[str]") -> list[float]:
    """Milliseconds of a step and of a patch, in one round."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return [1000 * float(word) for word in process.stdout.readline().split()]


def main() -> None:
    """Print the table."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--threads", type=int, default=2)
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--busy", type=int, nargs="+", default=[0, 2])
    words.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = words.parse_args()
    if args.serve:
        serve(args.threads)
        return
    clean = {key: value for key, value in os.environ.items() if key not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    command = [sys.executable, str(Path(__file__)), "--serve", "--threads", str(args.threads)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    sides = {name: subprocess.Popen(command, env=clean | told, **pipes) for name, told in POLICIES.items()}  # type: ignore[call-overload]
    for process in sides.values():
        asked(process)
    print(f"{args.threads} threads, load {os.getloadavg()[0]:.1f}; median (least .. most) of {args.rounds} rounds, ms")
    for busy in args.busy:
        with beside(busy):
            found = [{name: asked(process) for name, process in sides.items()} for _ in range(args.rounds)]
        for name in sides:
            step, patch = zip(*(one[name] for one in found), strict=True)
            told = "   ".join(
                f"{what} {statistics.median(part):7.1f} ({min(part):.1f} .. {max(part):.1f})"
                for what, part in (("VAE step", step), ("patch", patch))
            )
            print(f"beside {busy} processes   {name:28}{told}", flush=True)
    for process in sides.values():
        process.kill()


if __name__ == "__main__":
    main()
