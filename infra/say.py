"""`stipple say`: text, spoken by a bundle into a wav file, or as samples on stdout while they are made."""

import argparse
import gc
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from infra import log
from infra.examples import add_examples
from infra.speaking import STDOUT, options_of, report, speak, stdin_lines
from infra.waiting import told_while
from infra.wavs import refuse_place

if TYPE_CHECKING:
    from models.runtime.bundle import Bundle

SUMMARY = "speak a line of text with a bundle"
SECONDS = 30.0
"""At most, of a piece of text, where nobody says otherwise."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The text, the bundle, the voice, and how to sample."""
    parser.add_argument("text", metavar="TEXT", help="what to say; `-` reads it from stdin")
    where = parser.add_argument_group("model")
    where.add_argument(
        "--from",
        dest="bundle",
        required=True,
        metavar="BUNDLE",
        help="a bundle, the folder or name of the stage that made it, or a hub id (owner/model) in its local cache",
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
    speech = speak(bundle, text, args)
    if args.json:
        print(json.dumps({**asdict(speech), "real_time_factor": speech.real_time_factor}))
    elif args.out != STDOUT:
        print(args.out)
    for line in report(speech, maximum=args.max_seconds):
        log.say(line)
    return 130 if speech.finish_reason == "cancelled" else 0


def loaded(args: argparse.Namespace) -> "Bundle":
    """The bundle, where it is to speak; what does not fit it is told before, since a large one takes a while.

    Raises: BundleError, RequestError; Refused where the store has nothing of that name.
    """
    from infra.workflow.elsewhere import bundle_named
    from infra.workflow.single import STORE
    from infra.workflow.store import Store
    from models.runtime.bundle import CARD, check_files, find_bundle, load_bundle
    from models.runtime.configuration import read_config
    from models.runtime.files import read_card
    from models.runtime.precision import place, usable
    from models.runtime.speaking import sampler_of

    usable(args.device)
    found = find_bundle(bundle_named(args.bundle, Store(STORE)), download=args.download, revision=args.revision)
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
    from models.runtime.prompt import checked_sound
    from models.runtime.request import Request, check_text
    from models.text.sentences import split

    pieces = 1
    if not (args.whole or args.live):
        check_text(text, limit=MAX_CHARACTERS)
        pieces = len(split(text))
    if args.max_seconds is None:
        args.max_seconds = SECONDS * pieces
    Request(text=text if args.whole and not args.live else "-", **options_of(args, patches_per_second=1.0))
    if args.prompt_audio is not None:
        args.prompt_audio = checked_sound(args.prompt_audio)
