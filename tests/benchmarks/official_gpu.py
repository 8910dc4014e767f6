"""How fast is our side alone on a GPU, with random weights: by CUDA graphs and without, one request and many?

    PYTHONPATH=. python tests/benchmarks/official_gpu.py --out FOLDER [--config dots_tts_2b] [--device cuda]
        [--precision bfloat16] [--only PART ...] [--total 210]

To be read beside the published numbers (one H800, MeanFlow, 4 evaluations): first audio 68 ms and a real-time factor of
0.13, text only; 54 ms where text comes token by token. Each part (gpu_parts.py) is a process of its own that is ended
after the seconds stated there, so that what goes wrong in one costs no other, and all of them after --total. Lines are
printed, and kept in FOLDER/gpu.txt; numbers in FOLDER/gpu.json.
"""

import argparse
import json
import multiprocessing
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
from gpu_case import Case
from gpu_parts import PARTS, USUAL


def run(name: str, case: Case, found: Any) -> None:
    """One part, in a process of its own; its lines and numbers go into a queue as they come."""
    try:
        PARTS[name][0](replace(case, put=found.put))
    finally:
        if error := sys.exception():
            found.put((f"{name}: {type(error).__name__}: {error}", {}))


def main() -> None:
    """Print a line a measure."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--config", default="dots_tts_2b", help="medium, or the name of a file of manifests/models")
    words.add_argument("--device", default="cuda")
    words.add_argument("--precision", default="bfloat16", choices=["float32", "bfloat16"])
    words.add_argument("--out", type=Path, required=True)
    words.add_argument("--only", nargs="+", choices=list(PARTS), default=list(USUAL))
    words.add_argument("--total", type=float, default=210.0, help="seconds for all parts")
    words.add_argument("--patches", type=int, default=25, help="of a request")
    words.add_argument("--longest", type=int, default=500, help="patches of the longest request")
    words.add_argument("--rounds", type=int, default=10)
    args = words.parse_args()
    case = Case(args.config, args.device, args.precision, args.patches, args.longest, args.rounds)
    args.out.mkdir(parents=True, exist_ok=True)
    lines, numbers, start = [], dict[str, Any](), time.monotonic()
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    lines.append(f"{args.config}, {args.device}, {args.precision}, {versions}, {time.strftime('%Y-%m-%d %H:%M')}")
    print(lines[0], flush=True)
    fork = multiprocessing.get_context("fork")  # what was imported need not be imported again; CUDA is not begun yet
    for name in args.only:
        found, begun = fork.SimpleQueue(), time.monotonic()
        limit = min(PARTS[name][1], start + args.total - begun)
        child = fork.Process(target=run, args=(name, case, found))
        child.start()
        while child.is_alive() or not found.empty():
            if not found.empty():
                line, values = found.get()
                lines.append(line)
                print(line, flush=True)
                numbers.update({f"{name}/{key}": value for key, value in values.items()})
            elif time.monotonic() - begun > limit:
                child.kill()
                child.join()
                lines.append(f"{name}: ended after {limit:.0f} s")
                print(lines[-1], flush=True)
            else:
                time.sleep(0.02)
        lines.append(f"-- {name}: {time.monotonic() - begun:.1f} s, exit {child.exitcode}")
        print(lines[-1], flush=True)
        (args.out / "gpu.txt").write_text("\n".join(lines) + "\n")
        (args.out / "gpu.json").write_text(json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
