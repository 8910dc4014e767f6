"""`stipple say`: text, spoken by a bundle into a wav file, or as samples on stdout while they are made."""

import argparse
import gc
import io
import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from infra import log
from infra.examples import add_examples
from infra.waiting import Spoken, told_while
from infra.wavs import keep, refuse_place, samples_16

if TYPE_CHECKING:
    from torch import Tensor

    from models.runtime.bundle import Bundle
    from models.runtime.request import FinishReason, Options
    from models.runtime.stream import Chunk

SUMMARY = "speak a line of text with a bundle"
STDOUT = Path("-")
SECONDS = 30.0
"""At most, of a piece of text, where nobody says otherwise."""


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
        "--max-seconds",
        type=float,
        metavar="S",
        help=f"cut there at the latest (default: {SECONDS:.0f}, of a long text as often as it has pieces)",
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
    add_examples(
        parser,
        'say "Hello there." --from BUNDLE',
        'say "Hello there." --from BUNDLE --prompt-audio a.wav --prompt-text "What a.wav says." --out hello.wav',
        "say - --from BUNDLE --out book.wav < book.txt",
        "say - --live --from BUNDLE --out - | aplay -f S16_LE -r 48000",
    )


def main(args: argparse.Namespace) -> int:
    """Speak, write the wav whole or not at all (what was heard of --live too), and say how it ended."""
    gc.disable()  # what libraries and weights make while they load is no garbage: a fifth of the time to the first word
    try:
        refuse_early(args)
        text = args.text if args.text != "-" else "" if args.live else "".join(stdin_lines())
        refuse_request(args, text)
        bundle = loaded(args)
    finally:
        gc.enable()
    told = speak(bundle, text, args)
    if args.json:
        print(json.dumps({**asdict(told), "real_time_factor": told.real_time_factor}))
    elif args.out != STDOUT:
        print(args.out)
    for line in lines(told, maximum=args.max_seconds):
        log.say(line)
    return 130 if told.finish_reason == "cancelled" else 0


def loaded(args: argparse.Namespace) -> "Bundle":
    """The bundle, where it is to speak; what does not fit it is told before, since a large one takes a while.

    Raises: BundleError, RequestError.
    """
    from models.runtime.bundle import CARD, check_files, find_bundle, load_bundle
    from models.runtime.configuration import read_config
    from models.runtime.files import read_card
    from models.runtime.precision import place, usable
    from models.runtime.speaking import sampler_of

    usable(args.device)
    found = find_bundle(args.bundle, download=args.download, revision=args.revision)
    check_files(found, read_card(found, CARD))
    sampler_of(read_config(found), method=args.solver, num_steps=args.num_steps, guidance_scale=args.guidance_scale)
    size = sum(file.stat().st_size for file in found.glob("*.safetensors")) / 1e6
    with told_while(f"loading {found} ({f'{size / 1000:.1f} GB' if size >= 1000 else f'{size:.1f} MB'})"):
        return place(load_bundle(found), device=args.device, precision=args.precision)


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
    if args.max_seconds is not None and not (math.isfinite(args.max_seconds) and args.max_seconds > 0):
        raise Refused(f"--max-seconds is {args.max_seconds}; allow some seconds")
    if args.prompt_text and args.prompt_audio is None:
        raise Refused("--prompt-text says what is spoken in --prompt-audio; give both")


def refuse_request(args: argparse.Namespace, text: str) -> None:
    """The same of what is asked for, so that nobody waits for a large model to be told. The prompt is read here, once.

    Raises: RequestError.
    """
    from models.runtime.long import MAX_CHARACTERS
    from models.runtime.prompt import RequestError, checked_sound
    from models.runtime.request import Request, check_text
    from models.text.language import language_tag
    from models.text.sentences import split

    try:
        language_tag(args.language)
    except ValueError as error:
        raise RequestError(str(error)) from None
    pieces = 1
    if not (args.whole or args.live):
        check_text(text, limit=MAX_CHARACTERS)
        pieces = len(split(text))
    if args.max_seconds is None:
        args.max_seconds = SECONDS * pieces
    if args.whole or args.live:
        Request(text="-" if args.live else text, **options_of(args, patches_per_second=1.0))
    else:
        Request(text="-", **options_of(args, patches_per_second=1.0))
    if args.prompt_audio is not None:
        args.prompt_audio = checked_sound(args.prompt_audio)


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
    from models.runtime.generate import generate
    from models.runtime.long import generate_long

    options = options_of(args, patches_per_second=bundle.config.patches_per_second)
    rate_hz = bundle.config.audiovae.sample_rate
    begun, first = time.perf_counter(), None
    if args.out == STDOUT:  # before the first of them, for who has to tell a player
        log.say(f"samples: {rate_hz} Hz, mono, 16 bits, little-endian")
    else:
        options["cancelled"] = Spoken(bundle.config.patches_per_second).cancelled
    if args.stream or args.live:
        wave, finish, first = heard(bundle, text, options, args)
    else:
        made = (generate if args.whole else generate_long)(bundle, text, **options)
        wave, finish = made.wave_S, made.finish_reason
    took = time.perf_counter() - begun
    if args.out != STDOUT:
        keep(wave, rate_hz, args.out)
    return Told(str(args.out), len(wave) / rate_hz, rate_hz, finish, took, first, args.seed)


def heard(
    bundle: "Bundle", text: str, options: "Options", args: argparse.Namespace
) -> "tuple[Tensor, FinishReason, float | None]":
    """All that was streamed, how it ended, and after how many milliseconds the first of it was there.

    What was spoken live is kept, whatever ends it.
    """
    import torch

    from infra.workflow.node import Refused
    from models.runtime.prompt import RequestError

    begun, first = time.perf_counter(), None
    waves: list[Tensor] = []
    finish: FinishReason | None = None
    try:
        for chunk in streamed(bundle, text, options, args):
            first = first or 1000 * (time.perf_counter() - begun)
            waves.append(chunk.wave_S)
            finish = chunk.finish_reason
            if args.out == STDOUT:
                sys.stdout.buffer.write(samples_16(chunk.wave_S).tobytes())
                sys.stdout.buffer.flush()
    except KeyboardInterrupt:
        if not (args.live and waves):
            raise
        finish = "cancelled"
    except (Refused, RequestError):
        if args.live and waves and args.out != STDOUT:
            keep(torch.cat(waves), bundle.config.audiovae.sample_rate, args.out)
            log.say(f"what was spoken before is in {args.out}")
        raise
    assert finish is not None
    return torch.cat(waves), finish, first


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


def lines(told: Told, *, maximum: float) -> Iterator[str]:
    """What to say of it."""
    factor = told.real_time_factor or 0.0
    yield f"{told.seconds:.2f} s of speech in {told.took_seconds:.2f} s (real-time factor {factor:.2f})"
    if told.first_packet_ms is not None:
        yield f"first packet after {told.first_packet_ms:.0f} ms"
    if told.finish_reason == "stop":
        yield "finish reason: stop (the stop head ended it)"
    elif told.finish_reason == "cancelled":
        yield f"finish reason: cancelled. CUT after {told.seconds:.2f} s, when it was stopped"
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
