"""The lists of Seed-TTS-Eval: `utt|prompt_text|prompt_wav|infer_text` a line, the wav relative to the list."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from os.path import isfile  # unlike Path's: a text where a name should be is no file, however long
from pathlib import Path

import numpy as np

from infra.digests import glance
from infra.manifest import digest
from infra.workflow.node import Refused
from pipelines.evaluation.manifest import Line, Speech
from pipelines.evaluation.metrics import Prompt

NAME = re.compile(r"[^/\\\0.][^/\\\0]*")
"""What can name a wav: no path, nothing hidden."""
LONGEST_NAME = 200
"""Bytes: files may have 255, and a suffix comes to it."""
TOLD = 5
"""Mistakes of a list that one message tells."""


Voice = Callable[[], Prompt]
"""A prompt, read by every call: those of a whole list would fill the memory."""


@dataclass(frozen=True)
class Pair:
    """A line of a list."""

    utt: str
    prompt_text: str
    wav: Path
    text: str
    named: str
    """The recording, as the list names it: what stands for its voice, since lists name no speakers."""


def listed(wanted: Speech) -> Iterator[tuple[str, Line, Voice | None]]:
    """The pairs of a list: key, line, prompt.

    A prompt that is missing, or is no sound, makes a missing utterance, which is counted.

    Raises: Refused for a list that cannot be read, or has lines that are no pairs.
    """
    assert wanted.list_file is not None
    for pair in pairs(Path(wanted.list_file), with_text=wanted.mode == "continuation"):
        voice = None if wanted.mode == "no_prompt" else partial(prompt_of, pair, language=wanted.list_language)
        yield pair.utt, Line(text=pair.text, language=wanted.list_language), voice


def prompt_of(pair: Pair, *, language: str | None) -> Prompt:
    """The recording of a line, or why there is none."""
    from models.runtime.prompt import RequestError, read_sound

    made = partial(Prompt, key=f"prompt-{pair.utt}", text=pair.prompt_text, language=language, voice=pair.named)
    silent = partial(made, wave_S=None, rate_hz=16000)
    if not isfile(pair.wav):
        return silent(problem="its prompt is missing")
    try:
        wave_S, rate_hz, _ = read_sound(pair.wav)
        if not np.isfinite(wave_S).all():
            raise RequestError(f"{pair.wav} has samples that are not numbers")
    except RequestError as error:
        why = str(error).replace(str(pair.wav), "the file")  # one reason for all, on every machine
        return silent(problem=f"its prompt cannot be used: {why}")
    return made(wave_S=wave_S, rate_hz=rate_hz)


def pairs(path: Path, *, with_text: bool) -> list[Pair]:
    """The lines of a list, checked. `with_text`: every prompt needs its text.

    Raises: Refused, with the first of the lines that are wrong.
    """
    lines = {number: line.split("|") for number, line in lines_of(path).items()}
    if not lines:
        raise Refused(f"{path}: the list of utterances is empty; a line is utt|prompt_text|prompt_wav|infer_text")
    wrong, first_of = [], dict[str, int]()
    for number, parts in lines.items():
        first = first_of.setdefault(parts[0].strip(), number)
        if why := mistake(parts, with_text=with_text) or (
            f"{parts[0]!r} is line {first} too" if first != number else ""
        ):
            wrong.append(f"line {number}: {why}")
    if wrong:
        more = f"; and {len(wrong) - TOLD} more" if len(wrong) > TOLD else ""
        raise Refused(f"{path}, {'; '.join(wrong[:TOLD])}{more}")
    stripped = [[part.strip() for part in parts] for parts in lines.values()]
    return [Pair(utt, text, path.parent / wav, said, wav) for utt, text, wav, said, *_ in stripped]


def mistake(parts: list[str], *, with_text: bool) -> str | None:
    """What is wrong with a line by itself."""
    if len(parts) < 4:
        return f"should be utt|prompt_text|prompt_wav|infer_text, but is {'|'.join(parts)!r}"
    utt, prompt_text, _, text = (part.strip() for part in parts[:4])
    if not NAME.fullmatch(utt) or len(utt.encode()) > LONGEST_NAME:
        return f"{utt[:80]!r} cannot name a wav"
    if not text:
        return "there is no text to speak"
    if with_text and not prompt_text:
        return "the text of the prompt is missing, which mode continuation needs; use mode xvector"
    return None


def lines_of(path: Path) -> Mapping[int, str]:
    """Number -> line, of those that are not empty.

    Raises: Refused
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Refused(f"{path}: the list of utterances cannot be read ({error.strerror}); see the manifest") from None
    except UnicodeDecodeError as error:
        raise Refused(f"{path}: the list of utterances is not UTF-8 (byte {error.start}); convert it first") from None
    return {number: line for number, line in enumerate(text.split("\n"), start=1) if line.strip()}


def content(path: Path) -> str:
    """Digest of a list and of all the recordings that it names: what is not there yet counts as such."""
    if not path.is_file():
        return "absent"
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    wavs = {parts[2].strip() for line in text.split("\n") if len(parts := line.split("|")) > 2}
    return digest(
        [ascii(text), [[ascii(wav), glance(path.parent / wav)] for wav in sorted(wavs) if isfile(path.parent / wav)]]
    )
