"""Speech for `stipple say`: made whole or in pieces, written to a file or to stdout, and told of."""

import argparse
import io
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from infra import log
from infra.waiting import SpeechProgress
from infra.wavs import keep, samples_16

if TYPE_CHECKING:
    from torch import Tensor

    from models.runtime.bundle import Bundle
    from models.runtime.request import FinishReason, Options
    from models.runtime.stream import Chunk

STDOUT = Path("-")


@dataclass(frozen=True)
class SpeechReport:
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


def stdin_lines() -> Iterator[str]:
    """Lines of stdin as they come.

    Raises: Refused for bytes that are not UTF-8.
    """
    from infra.workflow.node import Refused

    if sys.stdin is None:
        raise Refused("stdin is closed, and TEXT `-` is read from it; give the text as a word, or a file with <")
    if sys.stdin.isatty():
        log.say("the text is read from here; Ctrl-D on a line of its own ends it")
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


def speak(bundle: "Bundle", text: str, args: argparse.Namespace) -> SpeechReport:
    """Make the speech, and write it."""
    from models.runtime.generate import generate
    from models.runtime.long import generate_long

    options = options_of(args, patches_per_second=bundle.config.patches_per_second)
    rate_hz = bundle.config.audiovae.sample_rate
    begun, first = time.perf_counter(), None
    if args.out == STDOUT:  # before the first of them, for who has to tell a player
        log.say(f"samples: {rate_hz} Hz, mono, 16 bits, little-endian")
    else:
        options["cancelled"] = SpeechProgress(bundle.config.patches_per_second).cancelled
    if args.stream or args.live:
        wave, finish, first = all_streamed(bundle, text, options, args)
    else:
        made = (generate if args.whole else generate_long)(bundle, text, **options)
        wave, finish = made.wave_S, made.finish_reason
    took = time.perf_counter() - begun
    if args.out != STDOUT:
        keep(wave, rate_hz, args.out)
    return SpeechReport(str(args.out), len(wave) / rate_hz, rate_hz, finish, took, first, args.seed)


def all_streamed(
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


def report(speech: SpeechReport, *, maximum: float) -> Iterator[str]:
    """What to say of it."""
    factor = speech.real_time_factor or 0.0
    yield f"{speech.seconds:.2f} s of speech in {speech.took_seconds:.2f} s (real-time factor {factor:.2f})"
    if speech.first_packet_ms is not None:
        yield f"first packet after {speech.first_packet_ms:.0f} ms"
    if speech.finish_reason == "stop":
        yield "finish reason: stop (the stop head ended it)"
    elif speech.finish_reason == "cancelled":
        yield f"finish reason: cancelled. CUT after {speech.seconds:.2f} s, when it was stopped"
    elif speech.seconds < maximum - 0.2:
        yield (
            f"finish reason: length. CUT after {speech.seconds:.2f} s, where so short a text (or a piece of it) cannot "
            "take longer: the stop head had not ended it. Allow more with --no-stop-guard"
        )
    else:
        yield (
            f"finish reason: length. CUT at the maximum of {maximum:g} s: the stop head had not ended it; "
            "what follows is missing. Allow more with --max-seconds"
        )
