"""Requests spoken together, a patch of each at a time; requests may come and go between patches.

Requests with the same sampler are one batch in all networks. What a request says does not depend on its company.
"""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from torch import Tensor

from models.backbone.flow import Sampler
from models.runtime.draws import Draws
from models.runtime.prompt import RequestError
from models.runtime.request import FinishReason, Request
from models.runtime.speaking import (
    Opening,
    Speaking,
    begin,
    check_positions,
    not_finite,
    sampler_of,
    speaking_parts,
    together,
)
from models.runtime.static_speaking import StaticSpeaking, static_speaking
from models.runtime.voice import Voice, voice_of
from models.text import tokens
from models.text.language import tagged
from models.text.normalize import detected, is_automatic, normalized

if TYPE_CHECKING:
    from models.runtime.bundle import Bundle


@dataclass(frozen=True)
class Step:
    """One new patch of raw latents."""

    latent_KD: Tensor
    """Empty where the request was called off."""
    stop_probability: float
    finish_reason: FinishReason | None
    """Set on the last patch."""
    error: Exception | None = None
    """Why the request failed, in place of a finish reason: it is gone, and the others go on."""


@dataclass
class Underway:
    """A request under way."""

    number: int
    request: Request
    draws: Draws
    words: Iterator[list[int]]
    limit: int
    redo_tail: bool
    """Whether the next patch is the prompt's last one made anew, which is heard but not spoken."""
    spoken: int = 0


@dataclass
class Group:
    """The requests of one sampler."""

    speaking: Speaking | StaticSpeaking | None = None
    underway: list[Underway] = field(default_factory=list)
    newcomers: list[tuple[Underway, Opening]] = field(default_factory=list)


class Batch:
    """Requests under way. `add` some, then take `step`s until none is left.

    Requests may be added by any thread at any time, also while a step is made; steps are for one thread.
    """

    def __init__(self, bundle: "Bundle") -> None:
        """Raises: BundleError when the bundle cannot speak."""
        self.bundle, self.parts = bundle, speaking_parts(bundle)
        self.groups: dict[Sampler, Group] = {}
        self.added = deque[tuple[Sampler, Underway, Opening]]()
        """Since the last step."""
        self.numbers = count()

    @property
    def busy(self) -> bool:
        """Whether a request is under way."""
        return bool(self.added) or any(group.underway or group.newcomers for group in self.groups.values())

    def add(self, request: Request, voice: Voice | None = None) -> int:
        """Listen to a request's prompt, and let it begin with the next step; its number.

        `voice`: one that is known already, instead of the request's prompt audio.

        Raises: RequestError for a request that cannot be met.
        """
        sampler = sampler_of(
            self.bundle.config,
            method=request.method,
            num_steps=request.num_steps,
            guidance_scale=request.guidance_scale,
        )
        draws = request.draws or Draws(seed=request.seed)
        words = self.words(request)
        first = next(words)
        limit = request.limit(self.bundle.config.patches_per_second)
        check_positions(self.bundle, len(first) + 1)
        voice = voice_of(self.bundle, request, draws) if voice is None else voice
        prompt = voice.patches(self.bundle.config.patch_size)
        check_positions(self.bundle, len(first) + prompt + 2)
        chunks = [first, *(next(words) for _ in range(prompt))]
        one = Underway(next(self.numbers), request, draws, words, limit, redo_tail=voice.continues)
        opening = Opening(voice, request.speaker_scale, chunks, most=limit)
        self.added.append((sampler, one, opening))
        return one.number

    def words(self, request: Request) -> Iterator[list[int]]:
        """Token ids before each patch.

        Raises: RequestError for a library that is missing.
        """
        text = request.text.strip()
        try:
            text = normalized(text) if request.normalize else text
            language = detected(text) if is_automatic(request.language) else request.language
            text = tagged(f"{request.transcript}\n{text}" if request.transcript else text, language)
        except ValueError as error:
            raise RequestError(str(error)) from None
        return tokens.before_patches(self.bundle.tokenizer, text, template=request.template)

    def step(self) -> dict[int, Step]:
        """A patch of every request under way, by its number; requests that ended or failed are gone afterwards."""
        made: dict[int, Step] = {}
        while self.added:
            sampler, one, opening = self.added.popleft()
            self.groups.setdefault(sampler, Group()).newcomers.append((one, opening))
        for sampler, group in self.groups.items():
            self.leave(group, made)
            self.arrive(group, sampler)
            if group.speaking is not None:
                self.speak(group, group.speaking, made)
        self.groups = {sampler: group for sampler, group in self.groups.items() if group.underway}
        return made

    def leave(self, group: Group, made: dict[int, Step]) -> None:
        """Take out requests that were called off."""
        for one in [*group.underway, *(one for one, _ in group.newcomers)]:
            try:
                if one.request.cancelled is not None and one.request.cancelled():
                    made[one.number] = Step(self.nothing(), math.nan, "cancelled")
            except Exception as error:  # noqa: BLE001 (the caller's own function; who asked gets what it raised)
                made[one.number] = Step(self.nothing(), math.nan, None, error)
        self.keep(group, [one for one in group.underway if one.number not in made])
        group.newcomers = [pair for pair in group.newcomers if pair[0].number not in made]

    def nothing(self) -> Tensor:
        """No frame."""
        return self.parts.mean_D.new_zeros(0, self.parts.backbone.config.latent_dim)

    def keep(self, group: Group, underway: list[Underway]) -> None:
        """Go on with these."""
        if group.speaking is not None:
            rows = [row for row, one in enumerate(group.underway) if one in underway]
            group.speaking.keep_rows(rows) if rows else None
            group.speaking = group.speaking if rows else None
        group.underway = underway

    def arrive(self, group: Group, sampler: Sampler) -> None:
        """Let those under way hear their last patch, and put newcomers beside them."""
        if group.speaking is not None:
            group.speaking.advance([next(one.words) for one in group.underway])
        if group.newcomers:
            openings = [opening for _, opening in group.newcomers]
            if isinstance(group.speaking, StaticSpeaking):
                group.speaking.take(openings)
            elif group.speaking is None:
                static = static_speaking(self.bundle.slots, self.parts, sampler, openings)
                group.speaking = static or together([begin(self.parts, sampler, one) for one in openings])
            else:
                group.speaking = together([group.speaking, *(begin(self.parts, sampler, one) for one in openings)])
            group.underway += [one for one, _ in group.newcomers]
            group.newcomers = []

    def speak(self, group: Group, speaking: Speaking | StaticSpeaking, made: dict[int, Step]) -> None:
        """Make a patch out of noise, ask the stop head whether it is the last, and see who has ended."""
        speaking.sample([one.draws for one in group.underway])
        probabilities, finite = speaking.stop_probability().tolist(), speaking.finite().tolist()
        latent_BKD = speaking.spoken()
        going = []
        for one, probability, sound, latent_KD in zip(group.underway, probabilities, finite, latent_BKD, strict=True):
            if not sound:
                made[one.number] = Step(self.nothing(), math.nan, None, not_finite())
                continue
            if one.redo_tail:
                one.redo_tail = False
                going.append(one)
                continue
            one.spoken += 1
            finish: FinishReason | None = "length" if one.spoken == one.limit else None
            if probability > one.request.stop_threshold:
                finish = "stop"
            made[one.number] = Step(latent_KD, probability, finish)
            if finish is None:
                going.append(one)
        self.keep(group, going)


def steps(bundle: "Bundle", request: Request, voice: Voice | None = None) -> Iterator[Step]:
    """The patches of one request, each as soon as it is made; what is asked for is checked before the first.

    Raises: as `Batch` and its `add`.
    """
    batch = Batch(bundle)
    batch.add(request, voice)
    return alone(batch)


def alone(batch: Batch) -> Iterator[Step]:
    """What the only request of a batch says.

    Raises: what its `cancelled` raised, or RequestError where the model made what is no number.
    """
    while batch.busy:
        for step in batch.step().values():
            if step.error is not None:
                raise step.error
            yield step
