"""How fast is our side alone, with random weights: time of a patch, first audio, real-time factor, many at once?

    PYTHONPATH=. python tests/benchmarks/official_gpu.py --config dots_tts_2b --device cuda --precision bfloat16

To be read beside the published numbers of one H800: first audio 68 ms and a real-time factor of 0.13 (MeanFlow, 4
evaluations, text only). Nothing is compiled here, and no CUDA graphs are made.
"""

import argparse
import statistics
import time

import torch
from official_model import random_bundle
from official_side import TEXT

from models.runtime.batch import Batch
from models.runtime.precision import place
from models.runtime.request import Request
from models.runtime.stream import generate_stream


def main() -> None:
    """Print a line a measure."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--config", default="medium", help="medium, or the name of a file of manifests/models")
    words.add_argument("--device", default="cpu")
    words.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    words.add_argument("--steps", type=int, default=4)
    words.add_argument("--patches", type=int, default=50)
    words.add_argument("--together", type=int, nargs="+", default=[1, 8, 32])
    args = words.parse_args()
    bundle = random_bundle(args.config, meanflow=True)
    bundle.audiovae.eval().requires_grad_(False)
    assert bundle.backbone is not None
    bundle.backbone.eval().requires_grad_(False)
    bundle = place(bundle, device=args.device, precision=args.precision)
    options = {"num_steps": args.steps, "max_patches": args.patches, "stop_threshold": 1.0}
    seconds_a_patch = bundle.config.patch_samples / bundle.config.audiovae.sample_rate

    def now() -> float:
        if args.device.startswith("cuda"):
            torch.cuda.synchronize()
        return time.perf_counter()

    firsts, factors = [], []
    for number in range(6):
        begun = now()
        chunks = generate_stream(bundle, TEXT, seed=number, **options)  # type: ignore[arg-type]
        next(chunk for chunk in chunks if len(chunk.wave_S))
        firsts.append(now() - begun)
        for _ in chunks:
            pass
        factors.append((now() - begun) / (args.patches * seconds_a_patch))
    print(
        f"{args.config}, {args.device}, {args.precision}, {args.steps} evaluations a patch, torch {torch.__version__}"
    )
    first_s, factor = statistics.median(firsts[1:]), statistics.median(factors[1:])
    print(f"first audio {1000 * first_s:.0f} ms, real-time factor {factor:.3f}")
    for count in args.together:
        batch = Batch(bundle)
        for number in range(count):
            batch.add(Request(text=TEXT, seed=number, **options))  # type: ignore[arg-type]
        begun = now()
        while batch.busy:
            batch.step()
        spoken = count * args.patches * seconds_a_patch
        print(f"{count:3} together: {spoken / (now() - begun):6.1f} s of latents a second", flush=True)


if __name__ == "__main__":
    main()
