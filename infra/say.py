"""`stipple say`: a line of text, spoken by a bundle into a wav file."""

import argparse
import io
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from models.runtime.bundle import Bundle
    from models.runtime.generate import FinishReason, Options

SUMMARY = "speak a line of text with a bundle"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The text, the bundle, the voice, and how to sample."""
    parser.add_argument("text", metavar="TEXT", help="what to say; `-` reads it from stdin")
    parser.add_argument(
        "--from",
        dest="bundle",
        required=True,
        type=Path,
        metavar="BUNDLE",
        help="a bundle, or the folder of a training artifact",
    )
    parser.add_argument("--prompt-audio", type=Path, metavar="FILE", help="a voice to imitate, 2 to 10 s")
    parser.add_argument("--prompt-text", metavar="TEXT", help="what is said in it; without, only its x-vector is used")
    parser.add_argument("--out", type=Path, default=Path("said.wav"), metavar="FILE", help="default: said.wav")
    parser.add_argument(
        "--language", metavar="TAG", help="language tag before the text: EN, ZH, YUE, ... (default: none)"
    )
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same samples (default: 0)")
    parser.add_argument("--method", choices=["euler", "midpoint", "rk4"], help="solver (default: the model's)")
    parser.add_argument("--num-steps", type=int, metavar="N", help="network evaluations a patch (default: the model's)")
    parser.add_argument("--guidance-scale", type=float, metavar="G", help="0 is none; default: the model's (1.2)")
    parser.add_argument("--speaker-scale", type=float, default=1.5, metavar="X", help="weight of the x-vector (1.5)")
    parser.add_argument("--max-seconds", type=float, default=30.0, metavar="S", help="cut there at the latest (30)")
    parser.add_argument(
        "--stop-threshold", type=float, default=0.8, metavar="P", help="stop above this probability (0.8)"
    )
    parser.add_argument("--stream", action="store_true", help="decode patch by patch, and report the first packet")


def main(args: argparse.Namespace) -> int:
    """Speak, write the wav whole or not at all, and say how it ended."""
    from infra.storage import write_atomic
    from models.runtime.bundle import find_bundle, load_bundle

    refuse_early(args)
    text = sys.stdin.read() if args.text == "-" else args.text
    bundle = load_bundle(find_bundle(args.bundle))
    begun = time.perf_counter()
    wave, finish, first_packet = speak(bundle, text, args)
    spent = time.perf_counter() - begun
    rate_hz = bundle.config.audiovae.sample_rate
    write_atomic(args.out, wav_bytes(wave, rate_hz))
    seconds = len(wave) / rate_hz
    print(args.out)
    for line in told(seconds, spent, finish, first_packet, maximum=args.max_seconds):
        print(line, file=sys.stderr)
    return 0


def refuse_early(args: argparse.Namespace) -> None:
    """What can be known to be wrong before networks are loaded.

    Raises: Refused.
    """
    from infra.workflow.node import Refused

    if args.out.is_dir() or not args.out.parent.is_dir():
        what = "is a folder" if args.out.is_dir() else "lies in a folder that does not exist"
        raise Refused(f"--out {args.out} {what}; name a wav file in a folder that exists")
    if not (math.isfinite(args.max_seconds) and args.max_seconds > 0):
        raise Refused(f"--max-seconds is {args.max_seconds}; allow some seconds")
    if args.prompt_text and args.prompt_audio is None:
        raise Refused("--prompt-text says what is spoken in --prompt-audio; give both")


def options_of(args: argparse.Namespace, bundle: "Bundle") -> "Options":
    """The command's words as a request's."""
    return {
        "prompt_audio": args.prompt_audio,
        "prompt_text": args.prompt_text,
        "language": args.language,
        "method": args.method,
        "num_steps": args.num_steps,
        "guidance_scale": args.guidance_scale,
        "speaker_scale": args.speaker_scale,
        "max_patches": max(1, int(args.max_seconds * bundle.config.patches_per_second)),
        "stop_threshold": args.stop_threshold,
        "seed": args.seed,
    }


def speak(bundle: "Bundle", text: str, args: argparse.Namespace) -> "tuple[Tensor, FinishReason, float | None]":
    """Samples, how they ended, and (streaming) the seconds to the first packet."""
    import torch

    from models.runtime.generate import generate
    from models.runtime.stream import generate_stream

    options = options_of(args, bundle)
    if not args.stream:
        made = generate(bundle, text, **options)
        return made.wave_S, made.finish_reason, None
    begun = time.perf_counter()
    chunks, first = [], None
    for chunk in generate_stream(bundle, text, **options):
        first = first or time.perf_counter() - begun
        chunks.append(chunk)
    finish = chunks[-1].finish_reason
    assert finish is not None
    return torch.cat([chunk.wave_S for chunk in chunks]), finish, first


def wav_bytes(wave: "Tensor", rate_hz: int) -> bytes:
    """A 16-bit wav file."""
    import soundfile

    held = io.BytesIO()
    soundfile.write(held, wave.numpy(), rate_hz, format="WAV", subtype="PCM_16")
    return held.getvalue()


def told(
    seconds: float, spent: float, finish: "FinishReason", first_packet: float | None, *, maximum: float
) -> Iterator[str]:
    """What to say of it."""
    yield f"{seconds:.2f} s of speech in {spent:.2f} s (real-time factor {spent / seconds:.2f})"
    if first_packet is not None:
        yield f"first packet after {1000 * first_packet:.0f} ms"
    if finish == "stop":
        yield "finish reason: stop (the stop head ended it)"
    else:
        yield (
            f"finish reason: length. CUT at the maximum of {maximum:g} s: the stop head had not ended it; "
            "what follows is missing. Allow more with --max-seconds"
        )
