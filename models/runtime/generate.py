"""Speak a text: one patch after the other, until the stop head or the stated maximum ends it."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypedDict, Unpack

import torch
from torch import Tensor

from models.backbone.backbone import Backbone, HeadCache, State
from models.backbone.flow import Sampler, sampler_for
from models.runtime.bundle import Bundle, BundleError
from models.runtime.prompt import RequestError, Sound, prompt_wave
from models.text import tokens
from models.text.language import tagged

FinishReason = Literal["stop", "length"]
MAX_PATCHES = 500
"""80 s, the official default; of new speech, the prompt not counted."""


class Options(TypedDict, total=False):
    """What a request may say beside its text; see `Request`."""

    prompt_audio: Sound | None
    prompt_text: str | None
    language: str | None
    method: str | None
    num_steps: int | None
    guidance_scale: float | None
    speaker_scale: float
    max_patches: int
    stop_threshold: float
    seed: int
    draws: "Draws | None"


@dataclass(frozen=True, kw_only=True)
class Request:
    """One text to speak. With a prompt and its text: continuation; with a prompt alone: its x-vector; else no voice."""

    text: str
    prompt_audio: Sound | None = None
    prompt_text: str | None = None
    language: str | None = None
    """A code or name (`EN`, `chinese`), an accent tag, or None for no tag."""
    method: str | None = None
    """ODE method: euler, midpoint, rk4; None takes the model's own."""
    num_steps: int | None = None
    guidance_scale: float | None = None
    speaker_scale: float = 1.5
    max_patches: int = MAX_PATCHES
    stop_threshold: float = 0.8
    seed: int = 0
    draws: "Draws | None" = None
    """Random numbers to use instead of those of `seed`: recorded ones, for parity."""

    def __post_init__(self) -> None:
        """Raises: RequestError, a sentence."""
        if not self.text.strip():
            raise RequestError("there is no text to speak; give at least one word")
        if self.prompt_text is not None and self.prompt_audio is None:
            raise RequestError("a prompt text was given without the prompt audio that it transcribes; give both")
        if self.max_patches < 1:
            raise RequestError(f"the maximum is {self.max_patches} patches; allow at least one (0.16 s)")
        if not 0 <= self.seed < 2**63:
            raise RequestError(f"the seed is {self.seed}; give a whole number from 0 to 2^63 - 1")
        if not 0 <= self.stop_threshold <= 1:
            raise RequestError(f"the stop threshold is a probability, but is {self.stop_threshold}")
        if not math.isfinite(self.speaker_scale):
            raise RequestError(f"the speaker scale must be a number, but is {self.speaker_scale}")


class Draws:
    """The random numbers of one request, in the order of the official code; nothing global is read or moved."""

    def __init__(self, *, seed: int = 0, recorded: Iterable[Tensor] | None = None) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._recorded = None if recorded is None else iter(recorded)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, or the next recorded ones."""
        if self._recorded is None:
            return torch.randn(shape, generator=self._generator)
        return self._next(shape)

    def below(self, limit: int) -> int:
        """A whole number in [0, limit), or the next recorded one."""
        if self._recorded is None:
            return int(torch.randint(limit, (1,), generator=self._generator))
        return int(self._next(()))

    def _next(self, shape: tuple[int, ...]) -> Tensor:
        assert self._recorded is not None
        value = next(self._recorded, None)
        if value is None or tuple(value.shape) != shape:
            found = "nothing more" if value is None else list(value.shape)
            raise RequestError(f"the recorded draws do not fit: {list(shape)} is needed, and there is {found}")
        return value


@dataclass(frozen=True)
class Speech:
    """What was spoken."""

    wave_S: Tensor
    """Float32 samples in [-1, 1]."""
    rate_hz: int
    finish_reason: FinishReason
    """`stop`: the stop head ended it; `length`: the maximum cut it."""
    latent_FD: Tensor
    """Raw latents that the waveform was made from."""
    stop_probabilities: tuple[float, ...]
    """What the stop head said before each patch."""

    @property
    def seconds(self) -> float:
        """Duration."""
        return len(self.wave_S) / self.rate_hz

    @property
    def patches(self) -> int:
        """Autoregressive steps that were spoken."""
        return len(self.stop_probabilities)


@dataclass(frozen=True)
class Step:
    """One new patch of raw latents."""

    latent_KD: Tensor
    stop_probability: float
    finish_reason: FinishReason | None
    """Set on the last patch."""


@dataclass(frozen=True)
class Voice:
    """What a prompt gives: its x-vector, and its latents where its text is known."""

    xvector_1E: Tensor | None = None
    latent_1FD: Tensor | None = None
    """Raw, without the last patch, which is made anew (and dropped) so that speech joins on to the prompt's end."""


def generate(bundle: Bundle, text: str, **options: Unpack[Options]) -> Speech:
    """Speak `text`. The same bundle, request and seed give the same samples, whatever ran before.

    Raises: RequestError for a request that cannot be met, BundleError for a bundle that cannot speak yet.
    """
    made = list(steps(bundle, Request(text=text, **options)))
    latent_FD = torch.cat([step.latent_KD for step in made])
    with torch.no_grad():
        wave_S = bundle.audiovae.decode(latent_FD[None])[0]
    finish = made[-1].finish_reason
    assert finish is not None
    return Speech(
        wave_S=wave_S,
        rate_hz=bundle.config.audiovae.sample_rate,
        finish_reason=finish,
        latent_FD=latent_FD,
        stop_probabilities=tuple(step.stop_probability for step in made),
    )


def steps(bundle: Bundle, request: Request) -> Iterator[Step]:
    """The patches of a request, each as soon as it is made; what is asked for is checked before the first.

    Raises: as `generate`.
    """
    speaking_parts(bundle)
    sampler = chosen_sampler(bundle, request)
    draws = request.draws or Draws(seed=request.seed)
    voice = voice_of(bundle, request, draws)
    speaking = begin(bundle, request, sampler, voice)
    return patch_by_patch(speaking, request, draws, redo_tail=voice.latent_1FD is not None)


def speaking_parts(bundle: Bundle) -> tuple[Backbone, Tensor, Tensor]:
    """Backbone and latent statistics, without which nothing is spoken."""
    if bundle.backbone is None or bundle.latent_mean_D is None or bundle.latent_var_D is None:
        lacks = "backbone" if bundle.backbone is None else "latent statistics"
        raise BundleError(
            f"this bundle has no {lacks} yet, so it cannot speak; "
            "it comes from an AudioVAE stage: give the bundle of a backbone stage (or of soar, meanflow)"
        )
    return bundle.backbone, bundle.latent_mean_D, bundle.latent_var_D


def chosen_sampler(bundle: Bundle, request: Request) -> Sampler:
    """The sampler that the request asks for and the model allows."""
    try:
        return sampler_for(
            bundle.config, method=request.method, steps=request.num_steps, guidance=request.guidance_scale
        )
    except ValueError as error:
        raise RequestError(str(error)) from None


@torch.no_grad()
def voice_of(bundle: Bundle, request: Request, draws: Draws) -> Voice:
    """Listen to the prompt: x-vector, and (with its text) a sample of its latents."""
    if request.prompt_audio is None:
        return Voice()
    config = bundle.config
    rate_hz = config.audiovae.sample_rate
    wave_1S = prompt_wave(request.prompt_audio, to_hz=rate_hz, patch_samples=config.patch_samples)[None]
    start_B = None
    spare = wave_1S.shape[1] - round(config.xvec_max_audio_seconds * rate_hz)
    if config.xvec_max_audio_seconds > 0 and spare > 0:
        start_B = torch.tensor([draws.below(spare + 1)])
    xvector_1E = bundle.speaker.embed(wave_1S, crop_start_B=start_B, max_seconds=config.xvec_max_audio_seconds)
    if not request.prompt_text:
        return Voice(xvector_1E)
    posterior = bundle.audiovae.encode(wave_1S)
    _, frames, width = posterior.mean_BFD.shape
    latent_1FD = posterior.sample(draws.normal(1, width, frames).transpose(1, 2))
    return Voice(xvector_1E, latent_1FD[:, : frames - config.patch_size])


@dataclass
class Speaking:
    """A request under way: the states it carries, and the hidden state before the next patch."""

    backbone: Backbone
    state: State
    head: HeadCache
    hidden_1H: Tensor
    mean_D: Tensor
    std_D: Tensor

    def sample(self, draws: Draws) -> Tensor:
        """The next normalized patch, (1, K, D)."""
        shape = (1, self.backbone.config.patch_size, self.backbone.config.latent_dim)
        noise = draws.normal(*shape)
        return self.backbone.sample_patch(
            self.head, self.hidden_1H, noise, draws.normal(*shape) if self.head.sampler.renoises else None
        )

    def hear(self, patch_1KD: Tensor) -> None:
        """Take a patch into the history, and come to the hidden state behind it."""
        self.backbone.append_patches(self.head, self.hidden_1H, patch_1KD)
        self.hidden_1H = self.backbone.next_hidden(self.state, self.raw(patch_1KD))

    def raw(self, patch_1KD: Tensor) -> Tensor:
        """A patch as the AudioVAE's decoder takes it."""
        return patch_1KD * self.std_D + self.mean_D


def begin(bundle: Bundle, request: Request, sampler: Sampler, voice: Voice) -> Speaking:
    """Feed text and prompt."""
    backbone, mean_D, var_D = speaking_parts(bundle)
    ids_T = text_ids(bundle, request)
    state = backbone.start()
    head = backbone.start_head(sampler, backbone.speaker(voice.xvector_1E, scale=request.speaker_scale))
    inputs_1LH = backbone.embed_text(torch.tensor([ids_T]))
    prompt_1FD = voice.latent_1FD
    if prompt_1FD is not None and prompt_1FD.shape[1]:
        inputs_1LH = torch.cat([inputs_1LH, backbone.embed_patches(state, prompt_1FD)], dim=1)
    check_length(bundle, inputs_1LH.shape[1] + request.max_patches)
    hidden_1LH = backbone.prefill(state, inputs_1LH)
    std_D = var_D.sqrt()
    if prompt_1FD is not None and prompt_1FD.shape[1]:
        backbone.append_patches(head, hidden_1LH[:, len(ids_T) - 1 : -1], (prompt_1FD - mean_D) / std_D)
    return Speaking(backbone, state, head, hidden_1LH[:, -1], mean_D, std_D)


def patch_by_patch(speaking: Speaking, request: Request, draws: Draws, *, redo_tail: bool) -> Iterator[Step]:
    """The loop: ask the stop head, make a patch out of noise, hear it, go on.

    `redo_tail`: the first patch is the prompt's last one made anew; it is heard, but not spoken.
    """
    if redo_tail:
        speaking.hear(speaking.sample(draws))
    for number in range(1, request.max_patches + 1):
        probability = float(speaking.backbone.stop_probability(speaking.hidden_1H))
        patch_1KD = speaking.sample(draws)
        finish: FinishReason | None = "length" if number == request.max_patches else None
        if probability > request.stop_threshold:
            finish = "stop"
        yield Step(speaking.raw(patch_1KD)[0], probability, finish)
        if finish:
            return
        speaking.hear(patch_1KD)


def text_ids(bundle: Bundle, request: Request) -> list[int]:
    """Token ids up to and with the one that starts the audio."""
    spoken = request.text.strip()
    try:
        if request.prompt_text:
            spoken = tagged(request.prompt_text.strip(), request.language) + "\n" + spoken
        else:
            spoken = tagged(request.text, request.language)
    except ValueError as error:
        raise RequestError(str(error)) from None
    return tokens.prefix(bundle.tokenizer, spoken)


def check_length(bundle: Bundle, positions: int) -> None:
    """Raises: RequestError when the request could outgrow the positions that the LLM was made for."""
    limit = int(bundle.config.llm.get("max_position_embeddings", positions))
    if positions > limit:
        raise RequestError(
            f"text, prompt and the maximum of new patches come to {positions} positions, and this model has {limit}; "
            "split the text, shorten the prompt, or lower the maximum"
        )
