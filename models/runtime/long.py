"""Speak a long text: sentence by sentence, every piece in the same voice."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Unpack

import torch

from models.runtime.batch import Step, steps
from models.runtime.generate import Speech, spoken
from models.runtime.prompt import LONGEST_SECONDS, RequestError, prompt_wave
from models.runtime.request import MAX_PATCHES, FinishReason, Options, Request, check_text
from models.runtime.stream import Chunk, Speaker
from models.text.sentences import split

if TYPE_CHECKING:
    from models.runtime.bundle import Bundle

MAX_CHARACTERS = 20000
"""About 20 minutes of speech."""
FOUND_SECONDS = 10.0
"""Of a first piece that is too long for a prompt: as much as an x-vector hears."""


@dataclass(frozen=True)
class Said:
    """A patch, and where it stands."""

    piece: int
    step: Step
    finish_reason: FinishReason | None
    """Of the whole; set on its last patch."""


def generate_long(bundle: "Bundle", text: str, **options: Unpack[Options]) -> Speech:
    """Speak `text` in pieces, and join them. A text of one piece is spoken as by `generate`, its lines joined.

    A prompt is the voice of every piece. Without one the first piece finds a voice, and the others continue it.
    `max_patches` holds for all together (and 500 for each). The finish reason is `length` where any piece was cut.

    Raises: as models.runtime.generate.generate.
    """
    said = list(pieces(bundle, text, options))
    parts = [spoken(bundle, [one.step for one in said if one.piece == n]) for n in range(said[-1].piece + 1)]
    finish = said[-1].finish_reason
    assert finish is not None
    return Speech(
        wave_S=torch.cat([part.wave_S for part in parts]),
        rate_hz=parts[0].rate_hz,
        finish_reason=finish,
        latent_FD=torch.cat([part.latent_FD for part in parts]),
        stop_probabilities=tuple(number for part in parts for number in part.stop_probabilities),
    )


def stream_long(bundle: "Bundle", text: str, **options: Unpack[Options]) -> Iterator[Chunk]:
    """The same in chunks, each as soon as it can be heard; joined, they are what `generate_long` gives.

    Raises: as models.runtime.generate.generate, before the first chunk.
    """
    return chunks(bundle, pieces(bundle, text, options))


def chunks(bundle: "Bundle", said: Iterator[Said]) -> Iterator[Chunk]:
    """Decode the patches of each piece as they come."""
    speaker, piece = Speaker(bundle), 0
    for one in said:
        if one.piece != piece:
            speaker, piece = Speaker(bundle), one.piece
        for chunk in speaker.say(one.step):
            yield replace(chunk, finish_reason=one.finish_reason if chunk.finish_reason else None)


def pieces(bundle: "Bundle", text: str, options: Options) -> Iterator[Said]:
    """The patches of all pieces, each as soon as it is made; what is asked for is checked before the first.

    Raises: as models.runtime.generate.generate.
    """
    check_text(text, limit=MAX_CHARACTERS)
    texts = split(text)
    if len(texts) > 1 and options.get("draws") is not None:
        raise RequestError("recorded random numbers are for one piece, and this text has several; use generate")
    asked = Request(text=texts[0], **options)
    most = asked.max_patches if "max_patches" in options else MAX_PATCHES * len(texts)
    request = replace(asked, max_patches=min(most, MAX_PATCHES))
    return after_another(bundle, request, texts, steps(bundle, request), left=most)


def after_another(
    bundle: "Bundle", request: Request, texts: Sequence[str], first: Iterator[Step], *, left: int
) -> Iterator[Said]:
    """The pieces in order, as long as there are patches left."""
    cut = False
    for piece, text in enumerate(texts):
        seed = (int(request.seed) + piece) % 2**63
        own = replace(request, text=text, seed=seed, max_patches=min(left, request.max_patches))
        made: list[Step] = []
        for step in first if piece == 0 else steps(bundle, own):
            made.append(step)
            if step.finish_reason is None:
                yield Said(piece, step, None)
        left, last = left - len(made), made[-1]
        cut = cut or last.finish_reason == "length" or (left < 1 and piece + 1 < len(texts))
        if last.finish_reason == "cancelled":
            yield Said(piece, last, "cancelled")
            return
        if left < 1 or piece + 1 == len(texts):
            yield Said(piece, last, "length" if cut else "stop")
            return
        yield Said(piece, last, None)
        if piece == 0 and request.prompt_audio is None:
            request = replace(request, **found_voice(bundle, text, made))


def found_voice(bundle: "Bundle", text: str, made: Sequence[Step]) -> Options:
    """The voice of the first piece as a prompt for the others; nothing where no voice can be heard in it.

    Of a piece that is longer than a prompt may be, it is its end.
    """
    speech = spoken(bundle, made)
    whole = speech.seconds <= LONGEST_SECONDS
    wave_S = speech.wave_S if whole else speech.wave_S[-round(FOUND_SECONDS * speech.rate_hz) :]
    sound = (wave_S.numpy(), speech.rate_hz)
    try:
        prompt_wave(sound)
    except RequestError:
        return {}
    return {
        "mode": None,
        "prompt_audio": sound,
        "prompt_text": text if whole and speech.finish_reason == "stop" else None,
    }
