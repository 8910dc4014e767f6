"""Text in, speech out, both as they come: text tokens and patches alternate in the LLM (double streaming)."""

from collections import deque
from collections.abc import Iterator, Sequence
from numbers import Integral
from threading import RLock
from typing import TYPE_CHECKING, Unpack

import torch
from torch import Tensor

from models.backbone.config import StreamingConfig
from models.runtime.batch import Step
from models.runtime.draws import Draws
from models.runtime.prompt import RequestError
from models.runtime.request import HALF, MAX_CHARACTERS, FinishReason, Options, Request, check_text
from models.runtime.speaking import Opening, Speaking, begin, check_positions, not_finite, sampler_of, speaking_parts
from models.runtime.static_speaking import StaticSpeaking, static_speaking
from models.runtime.stream import Chunk, Speaker
from models.runtime.voice import Voice, voice_of
from models.text import tokens
from models.text.increments import Increments
from models.text.language import tagged
from models.text.normalize import is_automatic

if TYPE_CHECKING:
    from models.runtime.bundle import Bundle

SILENCE = 10
"""Patches of silence that a session begins with at most, as officially."""


class Session:
    """One text that is spoken while it is being written.

    `push` text in parts, cut anywhere, and `finish` it; both give chunks to play, made as they are asked for. How many
    text tokens are read before each patch is the model's own cadence (`streaming` in config.json). Without a recording
    to continue, the first patch is silence, as officially; `initial_silence` says how many are. Text may come and
    chunks be asked for in different threads.
    """

    def __init__(self, bundle: "Bundle", *, initial_silence: int | None = None, **options: Unpack[Options]) -> None:
        """Read and hear the prompt.

        Raises: RequestError for a request that cannot be met, BundleError for a bundle that cannot speak.
        """
        if options.get("template", tokens.INTERLEAVED_TEMPLATE) != tokens.INTERLEAVED_TEMPLATE:
            raise RequestError("a session reads and speaks in turn, and has a template of its own; leave template out")
        if options.get("normalize"):
            raise RequestError("text that comes in parts cannot be normalized; normalize it before, or leave that out")
        if is_automatic(options.get("language")):
            raise RequestError("the language of text that comes in parts cannot be detected; name it, or leave it out")
        if initial_silence is not None and not isinstance(initial_silence, Integral):
            raise RequestError(f"initial_silence is {initial_silence!r}; give a number of patches, 0 to {SILENCE}")
        self.bundle, self.text = bundle, ""
        options["template"] = tokens.INTERLEAVED_TEMPLATE
        self.request = Request(text="-", **options)
        self.draws = self.request.draws or Draws(seed=self.request.seed)
        self.special = tokens.specials(bundle.tokenizer)
        self.cadence = bundle.config.streaming or StreamingConfig()
        self.quotas = tokens.quotas(self.cadence)
        self.quota = next(self.quotas)
        self.reader, self.words = Increments(bundle.tokenizer), deque[int]()
        self.half = ""
        """The first half of a surrogate pair, where the text was cut behind it."""
        self.speaker, self.made, self.called_off = Speaker(bundle), 0, False
        self.lock = RLock()
        """Held while text is taken or a patch is made."""
        self.unheard = deque[Chunk]()
        self.limit, self.read = self.request.max_patches, False
        """Patches at most once the text is over; whether all of it has been read."""
        self.finish_reason: FinishReason | None = None
        """How the session ended; None as long as something is left to make."""
        self.last: Iterator[Chunk] | None = None
        """What is left to hear, once the text is over."""
        voice = voice_of(bundle, self.request, self.draws)
        self.speaking = self.begin(voice)
        self.silence = (0 if voice.continues else 1) if initial_silence is None else initial_silence
        self.silence_KDs = self.silent_patches(max(0, min(self.silence, SILENCE)))

    def begin(self, voice: Voice) -> Speaking | StaticSpeaking:
        """Read and hear what comes before the text."""
        request, tokenizer = self.request, self.bundle.tokenizer
        parts = speaking_parts(self.bundle)
        sampler = sampler_of(
            self.bundle.config,
            method=request.method,
            num_steps=request.num_steps,
            guidance_scale=request.guidance_scale,
        )
        start = tokens.encode(tokenizer, tokens.INTERLEAVED)
        prompt, rest = [start], []
        if voice.latent_1FD is not None:
            patches = voice.patches(self.bundle.config.patch_size) + 1
            text = tagged(request.transcript + "\n", request.language)
            order = tokens.alternate(
                tokens.encode(tokenizer, text),
                [*[self.special.audio_span] * patches, self.special.audio_end],
                end=self.special.text_end,
                streaming=self.cadence,
            )
            *prompt, rest = chunked([*start, *order], at=self.special.audio_span)
        else:
            self.words += self.reader.push(tagged("-", request.language)[:-1])
        check_positions(self.bundle, sum(map(len, prompt)) + len(prompt) + len(rest) + 1)
        opening = Opening(voice, request.speaker_scale, prompt, most=request.max_patches + SILENCE)
        static = static_speaking(self.bundle.slots, parts, sampler, [opening])
        speaking = static or begin(parts, sampler, opening)
        if voice.latent_1FD is not None:
            speaking.sample([self.draws])  # the prompt's last patch made anew: heard, but not spoken
            speaking.advance([[*rest, *start]])
        return speaking

    @torch.no_grad()
    def silent_patches(self, count: int) -> Sequence[Tensor]:
        """The latents (raw) of the first patches of silence; what comes after them is silence too."""
        if not count:
            return ()
        samples = SILENCE * self.bundle.config.patch_samples
        silence_1S = next(self.bundle.audiovae.parameters()).new_zeros(1, samples)
        latent_1FD = self.bundle.audiovae.encode(silence_1S).mean_BFD
        return torch.split(latent_1FD[0], self.bundle.config.patch_size)[:count]

    def push(self, text: str) -> Iterator[Chunk]:
        """Read more of the text; what can be spoken of it. A sign may be cut in the middle of its surrogate pair.

        Raises: RequestError when the text is over or the session has ended, or for text that cannot be read.
        """
        with self.lock:
            self.check_open()
            whole, half = whole_signs(self.half + text) if isinstance(text, str) else (text, "")
            self.half = ""
            check_text(whole, empty=True)
            if len(self.text) + len(whole) > MAX_CHARACTERS:
                raise RequestError(
                    f"the text of this session would have {len(self.text) + len(whole)} characters, and at most "
                    f"{MAX_CHARACTERS} are taken; finish it, and start another one"
                )
            self.text, self.half = self.text + whole, half
            return self.push_ids(self.reader.push(whole))

    def push_ids(self, ids: Sequence[int]) -> Iterator[Chunk]:
        """The same for text tokens of this bundle's tokenizer.

        Raises: RequestError when the text is over or the session has ended, or for what is no token.
        """
        with self.lock:
            self.check_open()
            count = len(self.bundle.tokenizer)
            if strange := [token for token in ids if not isinstance(token, Integral) or not 0 <= token < count]:
                raise RequestError(f"{strange[0]} is no token of this model, which has {count}")
            self.words += ids
            return self.chunks(to_end=False)

    def check_open(self) -> None:
        """Raises: RequestError where no more text is taken."""
        if self.finish_reason is not None:
            raise RequestError(f"this session has ended ({self.finish_reason}); start another one")
        if self.last is not None:
            raise RequestError("finish() was called, so the text of this session is over; start another one")

    def finish(self) -> Iterator[Chunk]:
        """The text is over; what is left to hear of it, up to the last chunk.

        Called again, it gives the same iterator.

        Raises: RequestError when there was no text, or half a sign is left of it.
        """
        with self.lock:
            if self.last is None and self.finish_reason is None:
                if self.half:
                    raise RequestError(f"the text ends with {HALF % ord(self.half)}; push the other half, or cancel()")
                if not self.text.strip() and not self.words and not self.made:
                    raise RequestError("there is no text to speak; push at least one word before finish()")
                self.words += self.reader.finish()
                if self.text.strip():  # of token ids we do not know what they say
                    self.limit = self.request.limit(self.bundle.config.patches_per_second, text=self.text)
            if self.last is None:
                self.last = self.chunks(to_end=True)
            return self.last

    def cancel(self) -> Iterator[Chunk]:
        """End now: nothing more is made, and what was made and not heard yet is the rest, up to the last chunk.

        From another thread than the one that listens, it ends the speech at the next patch; who asks first gets the
        rest.
        """
        self.called_off = True
        return self.chunks(to_end=False)

    def chunks(self, *, to_end: bool) -> Iterator[Chunk]:
        """Chunks as they are made; each is handed out once, to whoever asks next."""
        while (chunk := self.next_chunk(to_end=to_end)) is not None:
            yield chunk

    def next_chunk(self, *, to_end: bool) -> Chunk | None:
        """Speak until there is something to hear; None where the text does not allow another patch, or all is said."""
        with self.lock:
            while not self.unheard and self.finish_reason is None:
                if self.called_off or (self.request.cancelled is not None and self.request.cancelled()):
                    self.close("cancelled")
                elif len(self.words) >= self.quota and not self.read:
                    self.speaking.advance([[self.words.popleft() for _ in range(self.quota)]])
                    self.quota = next(self.quotas)
                    self.speak(limit=self.request.max_patches, stops=False)
                elif to_end:
                    self.speaking.advance([[] if self.read else [*self.words, self.special.text_end]])
                    self.words.clear()
                    self.read = True
                    self.speak(limit=self.limit, stops=True)
                else:
                    return None
            return self.unheard.popleft() if self.unheard else None

    def speak(self, *, limit: int, stops: bool) -> None:
        """One more patch; `stops`: whether the stop head is asked about it."""
        self.speaking.sample([self.draws])
        probability = float(self.speaking.stop_probability()) if stops else 0.0
        if not bool(self.speaking.finite().all()):
            raise not_finite()
        raw_KD = self.speaking.spoken()[0]
        if self.made < len(self.silence_KDs):
            raw_KD = self.silence_KDs[self.made].to(raw_KD)
            self.speaking.replace(raw_KD[None])
        self.made += 1
        finish: FinishReason | None = "length" if self.made >= limit else None
        if probability > self.request.stop_threshold:
            finish = "stop"
        self.unheard += self.speaker.say(Step(raw_KD, probability, finish))
        self.finish_reason = finish

    def close(self, reason: FinishReason) -> None:
        """End without another patch."""
        width = self.bundle.config.latent_dim
        self.unheard += self.speaker.say(Step(torch.zeros(0, width), 0.0, reason))
        self.finish_reason = reason


def chunked(order: Sequence[int], *, at: int) -> list[list[int]]:
    """What stands before, between and behind the placeholders."""
    chunks: list[list[int]] = [[]]
    for token in order:
        if token == at:
            chunks.append([])
        else:
            chunks[-1].append(token)
    return chunks


def whole_signs(text: str) -> tuple[str, str]:
    """Text whose surrogate pairs are joined, and the first half of a pair that it ends with."""
    half = text[-1] if "\ud800" <= text[-1:] <= "\udbff" else ""
    whole = text[: len(text) - len(half)].encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return whole, half
