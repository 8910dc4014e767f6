"""`stipple say`: text, spoken by a bundle into a wav file, or as samples on stdout while they are made."""

import argparse
import io
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from models.runtime.bundle import Bundle
    from models.runtime.request import FinishReason, Options
    from models.runtime.stream import Chunk

SUMMARY = "speak a line of text with a bundle"
STDOUT = Path("-")


@dataclass(frozen=True)
class Told:
    """What came of it."""

    out: str
    seconds: float
    rate_hz: int
    finish_reason: "FinishReason"
    took_seconds: float
    first_packet_ms: float | None
    seed: int

    @property
    def real_time_factor(self) -> float | None:
        """Seconds of work a second of speech."""
        return self.took_seconds / self.seconds if self.seconds else None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The text, the bundle, the voice, and how to sample."""
    parser.add_argument("text", metavar="TEXT", help="what to say; `-` reads it from stdin")
    where = parser.add_argument_group("model")
    where.add_argument(
        "--from",
        dest="bundle",
        required=True,
        metavar="BUNDLE",
        help="a bundle, the folder of a training artifact, or a hub id (owner/model) in the hub's local cache",
    )
    where.add_argument("--download", action="store_true", help="download a hub id that is not in the cache")
    where.add_argument("--revision", metavar="R", help="revision of a hub id")
    where.add_argument("--device", default="cpu", metavar="D", help="cpu, cuda, cuda:1, ... (default: cpu)")
    where.add_argument(
        "--precision", choices=["float32", "bfloat16"], default="float32", help="of the core (default: float32)"
    )
    voice = parser.add_argument_group("voice and text")
    voice.add_argument("--prompt-audio", type=Path, metavar="FILE", help="a voice to imitate, 2 to 10 s")
    voice.add_argument("--prompt-text", metavar="TEXT", help="what is said in it; without, only its x-vector is used")
    voice.add_argument(
        "--mode", choices=["continuation", "xvector", "none"], help="hold the prompt to it (default: what it allows)"
    )
    voice.add_argument(
        "--speaker-scale", type=float, default=1.5, metavar="X", help="weight of the x-vector (default: 1.5)"
    )
    voice.add_argument(
        "--language", metavar="TAG", help="tag before the text: EN, ZH, YUE, ..., auto_detect (default: none)"
    )
    voice.add_argument("--normalize", action="store_true", help="write out numbers of Mandarin and English text")
    voice.add_argument(
        "--template",
        default="tts",
        metavar="NAME",
        help="tts, tts_interleave, text_to_audio, instruction_tts (default: tts)",
    )
    voice.add_argument("--whole", action="store_true", help="speak a long text in one go, not sentence by sentence")
    sampler = parser.add_argument_group("sampler")
    sampler.add_argument("--seed", type=int, default=0, help="the same seed gives the same samples (default: 0)")
    sampler.add_argument("--solver", choices=["euler", "midpoint", "rk4"], help="ODE solver (default: the model's)")
    sampler.add_argument("--num-steps", type=int, metavar="N", help="solver steps a patch (default: the model's)")
    sampler.add_argument("--guidance-scale", type=float, metavar="G", help="0 is none; default: the model's (1.2)")
    sampler.add_argument(
        "--max-seconds", type=float, default=30.0, metavar="S", help="cut there at the latest (default: 30)"
    )
    sampler.add_argument(
        "--stop-threshold", type=float, default=0.8, metavar="P", help="stop above this probability (default: 0.8)"
    )
    sampler.add_argument(
        "--no-stop-guard", action="store_true", help="do not cut very short texts where they cannot take longer"
    )
    out = parser.add_argument_group("output")
    out.add_argument(
        "--out",
        type=Path,
        default=Path("said.wav"),
        metavar="FILE",
        help="the wav to write (default: said.wav); `-`: samples on stdout, 16 bits, mono; stderr tells their rate",
    )
    out.add_argument("--stream", action="store_true", help="decode patch by patch, and report the first packet")
    out.add_argument(
        "--live", action="store_true", help="with TEXT `-`: speak stdin line by line while it is being written"
    )
    out.add_argument("--json", action="store_true", help="tell what came of it as JSON on stdout")


def main(args: argparse.Namespace) -> int:
    """Speak, write the wav whole or not at all, and say how it ended."""
    refuse_early(args)
    text = args.text if args.text != "-" else "" if args.live else "".join(stdin_lines())
    refuse_request(args, text)
    from models.runtime.bundle import find_bundle, load_bundle
    from models.runtime.precision import place

    found = find_bundle(args.bundle, download=args.download, revision=args.revision)
    bundle = place(load_bundle(found), device=args.device, precision=args.precision)
    told = speak(bundle, text, args)
    if args.json:
        print(json.dumps({**asdict(told), "real_time_factor": told.real_time_factor}))
    elif args.out != STDOUT:
        print(args.out)
    for line in lines(told, maximum=args.max_seconds):
        print(line, file=sys.stderr)
    return 0


def refuse_early(args: argparse.Namespace) -> None:
    """What can be known to be wrong before networks are loaded.

    Raises: Refused.
    """
    from infra.workflow.node import Refused

    if args.live and args.text != "-":
        raise Refused("--live speaks what comes from stdin: give `-` as the text")
    if args.out == STDOUT and (args.json or not (args.stream or args.live)):
        raise Refused("--out - gives samples as they are made: it goes with --stream or --live, and not with --json")
    if args.out != STDOUT:
        refuse_place(args.out)
    if not (math.isfinite(args.max_seconds) and args.max_seconds > 0):
        raise Refused(f"--max-seconds is {args.max_seconds}; allow some seconds")
    if args.prompt_text and args.prompt_audio is None:
        raise Refused("--prompt-text says what is spoken in --prompt-audio; give both")


def refuse_request(args: argparse.Namespace, text: str) -> None:
    """The same of what is asked for, so that nobody waits for a large model to be told.

    Raises: RequestError.
    """
    from models.runtime.long import MAX_CHARACTERS
    from models.runtime.prompt import prompt_wave
    from models.runtime.request import Request, check_text

    if args.whole or args.live:
        Request(text="-" if args.live else text, **options_of(args, patches_per_second=1.0))
    else:
        check_text(text, limit=MAX_CHARACTERS)
        Request(text="-", **options_of(args, patches_per_second=1.0))
    if args.prompt_audio is not None:
        prompt_wave(args.prompt_audio)


def refuse_place(out: Path) -> None:
    """Only a regular file is replaced, in a folder that can be written to; a link is followed.

    Raises: Refused.
    """
    from infra.storage import require_place
    from infra.workflow.node import Refused

    real = Path(os.path.realpath(out))
    for wrong, what in (
        (os.path.isdir(real), "is a folder"),
        (os.path.islink(real), "is a link that leads to itself"),
        (os.path.exists(real) and not os.path.isfile(real), "is a device, a pipe or a socket"),
        (not os.path.isdir(real.parent), "lies in a folder that does not exist"),
    ):
        if wrong:
            raise Refused(f"--out {out} {what}; name a wav file in a folder that exists, or `-` for stdout")
    require_place(real, what=f"--out {out}")


def stdin_lines() -> Iterator[str]:
    """Lines of stdin as they come.

    Raises: Refused for bytes that are not UTF-8.
    """
    from infra.workflow.node import Refused

    if sys.stdin is None:
        raise Refused("stdin is closed, and TEXT `-` is read from it; give the text as a word, or a file with <")
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="strict")  # a C locale would let other bytes through
    try:
        yield from sys.stdin
    except UnicodeDecodeError as error:
        raise Refused(f"stdin is not UTF-8 text ({error}); convert it, or give the text as a word") from None


def options_of(args: argparse.Namespace, *, patches_per_second: float) -> "Options":
    """The command's words as a request's."""
    return {
        "prompt_audio": args.prompt_audio,
        "prompt_text": args.prompt_text,
        "mode": args.mode,
        "template": args.template,
        "language": args.language,
        "normalize": args.normalize,
        "method": args.solver,
        "num_steps": args.num_steps,
        "guidance_scale": args.guidance_scale,
        "speaker_scale": args.speaker_scale,
        "max_patches": max(1, int(args.max_seconds * patches_per_second)),
        "stop_threshold": args.stop_threshold,
        "stop_guard": not args.no_stop_guard,
        "seed": args.seed,
    }


def speak(bundle: "Bundle", text: str, args: argparse.Namespace) -> Told:
    """Make the speech, and write it."""
    import torch

    from infra.storage import write_atomic
    from models.runtime.generate import generate
    from models.runtime.long import generate_long

    options = options_of(args, patches_per_second=bundle.config.patches_per_second)
    begun, first = time.perf_counter(), None
    if args.out == STDOUT:  # before the first of them, for who has to tell a player
        print(f"samples: {bundle.config.audiovae.sample_rate} Hz, mono, 16 bits, little-endian", file=sys.stderr)
    if args.stream or args.live:
        heard: list[Chunk] = []
        for chunk in streamed(bundle, text, options, args):
            first = first or 1000 * (time.perf_counter() - begun)
            heard.append(chunk)
            if args.out == STDOUT:
                sys.stdout.buffer.write(samples_16(chunk.wave_S).tobytes())
                sys.stdout.buffer.flush()
        wave, finish = torch.cat([chunk.wave_S for chunk in heard]), heard[-1].finish_reason
    else:
        made = (generate if args.whole else generate_long)(bundle, text, **options)
        wave, finish = made.wave_S, made.finish_reason
    assert finish is not None
    took, rate_hz = time.perf_counter() - begun, bundle.config.audiovae.sample_rate
    if args.out != STDOUT:
        write_atomic(Path(os.path.realpath(args.out)), wav_bytes(wave, rate_hz))
    return Told(str(args.out), len(wave) / rate_hz, rate_hz, finish, took, first, args.seed)


def streamed(bundle: "Bundle", text: str, options: "Options", args: argparse.Namespace) -> "Iterator[Chunk]":
    """Chunks as they are made."""
    from models.runtime.long import stream_long
    from models.runtime.session import Session
    from models.runtime.stream import generate_stream

    if not args.live:
        yield from (generate_stream if args.whole else stream_long)(bundle, text, **options)
        return
    if options.get("template") == "tts":
        del options["template"]
    session = Session(bundle, **options)
    for line in stdin_lines():
        yield from session.push(line)
        if session.finish_reason:
            return
    yield from session.finish()


def wav_bytes(wave: "Tensor", rate_hz: int) -> bytes:
    """A 16-bit wav file."""
    import soundfile

    held = io.BytesIO()
    soundfile.write(held, samples_16(wave), rate_hz, format="WAV", subtype="PCM_16")
    return held.getvalue()


def samples_16(wave: "Tensor") -> "NDArray[np.int16]":
    """16-bit samples."""
    import numpy as np

    return np.asarray((wave * 32767).round().numpy().astype("<i2"))


def lines(told: Told, *, maximum: float) -> Iterator[str]:
    """What to say of it."""
    factor = told.real_time_factor or 0.0
    yield f"{told.seconds:.2f} s of speech in {told.took_seconds:.2f} s (real-time factor {factor:.2f})"
    if told.first_packet_ms is not None:
        yield f"first packet after {told.first_packet_ms:.0f} ms"
    if told.finish_reason == "stop":
        yield "finish reason: stop (the stop head ended it)"
    elif told.seconds < maximum - 0.2:
        yield (
            f"finish reason: length. CUT after {told.seconds:.2f} s, where so short a text (or a piece of it) cannot "
            "take longer: the stop head had not ended it. Allow more with --no-stop-guard"
        )
    else:
        yield (
            f"finish reason: length. CUT at the maximum of {maximum:g} s: the stop head had not ended it; "
            "what follows is missing. Allow more with --max-seconds"
        )
