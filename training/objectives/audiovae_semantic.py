"""AudioVAE stage 2: reconstruct, and let the latents be read - by WavLM's features, by ASR, speakers and emotions.

All terms of stage 1, plus the cosine alignment of latent frames with layer 23 of a frozen WavLM, plus the multitask
block (dots.tts section 2.6.1; HoliTok gives weight 1 to each). The reading terms see whole utterances; crops of
`crop_frames` are decoded. An utterance without a text, a speaker or an emotion adds nothing to that task.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor

from infra.manifest import Manifest, ManifestError
from models.audiovae.supervision import TASKS, Answer, HeadConfig, Supervision
from models.frozen import WeightsError
from models.frozen.wavlm import WavLM
from models.runtime.bundle import Bundle
from training.data.draw import Draw
from training.manifest import Count, NotNegative
from training.objectives import Batch, Player, Term, audiovae
from training.objectives.audiovae import PLAYERS as PLAYERS
from training.objectives.audiovae import Crops, GeneratorPlayer, take
from training.objectives.audiovae import least_seconds as least_seconds

NEEDS_TEXT = False


class Head(Manifest):
    """The language model that is thrown away; defaults are those of Qwen2.5-0.5B."""

    width: Count = 896
    layers: Count = 24
    heads: Count = 14
    key_value_heads: Count = 2
    ffn: Count = 4864

    @model_validator(mode="after")
    def heads_share_the_width(self) -> "Head":
        """Each head has an even part of it, and keys and values are those of whole groups of heads."""
        if self.width % (2 * self.heads) or self.heads % self.key_value_heads:
            raise ValueError(
                f"width ({self.width}) must be a multiple of twice the heads ({self.heads}), and heads one of "
                f"key_value_heads ({self.key_value_heads})"
            )
        return self


class Config(audiovae.Config):
    """Settings of stage 1, and of what reads the latents."""

    wavlm: Path | None = None
    """A folder with WavLM weights, as the hub has them; without one the alignment is not part of the stage."""
    wavlm_layer: int = Field(default=23, ge=0)
    wavlm_weight: NotNegative = 1.0
    """This and the next three are HoliTok's; dots.tts gives none."""
    asr_weight: NotNegative = 1.0
    speaker_weight: NotNegative = 1.0
    emotion_weight: NotNegative = 1.0
    head: Head = Head()


@dataclass(frozen=True)
class Supervised:
    """What the players see of a batch: crops to reconstruct, and whole utterances to be read."""

    crops: Crops
    wave_BS: Tensor
    length_B: Tensor
    frames: list[int]
    noise_BFD: Tensor
    teacher_BFW: Tensor | None
    answers: list[Answer]


class ReadPlayer(GeneratorPlayer):
    """Stage 1's generator, and what reads its latents."""

    def __init__(self, *parts: Any, supervision: Supervision, **others: Any) -> None:
        super().__init__(*parts, **others)
        self.supervision = supervision

    def forward(self, prepared: Any, draw: Draw) -> dict[str, Term]:
        """Terms of stage 1, then `semantic/...`: frames for WavLM, target tokens for the tasks."""
        assert isinstance(prepared, Supervised)
        return {**super().forward(prepared, draw), **self.reading_terms(prepared)}

    def counts(self, prepared: Any, draw: Draw) -> dict[str, Tensor]:
        """Those of stage 1; frames, and target tokens of each task."""
        assert isinstance(prepared, Supervised)
        found = super().counts(prepared, draw)
        if prepared.teacher_BFW is not None:
            found["semantic/wavlm"] = torch.tensor(float(sum(prepared.frames)))
        for task in TASKS:
            own = [answer for answer in prepared.answers if answer.task == task]
            found[f"semantic/{task}"] = torch.tensor(float(sum(len(answer.ids) + 1 for answer in own)))
        return found

    def reading_terms(self, seen: Supervised) -> dict[str, Term]:
        """How well the sampled latents of whole utterances can be read."""
        posterior = self.vae.encode(seen.wave_BS, seen.length_B)
        latent_BFD = posterior.sample(seen.noise_BFD)
        terms = {}
        if seen.teacher_BFW is not None:
            counts = torch.tensor(seen.frames, device=latent_BFD.device)
            valid_BF = torch.arange(latent_BFD.shape[1], device=latent_BFD.device) < counts.unsqueeze(1)
            terms["semantic/wavlm"] = added_up([self.supervision.alignment(latent_BFD, seen.teacher_BFW, valid_BF)])
        losses = self.supervision.token_losses(latent_BFD, seen.frames, seen.answers)
        # without labels in its batch a worker must still send gradients, zeros, for the sums over workers to match
        untouched = torch.stack([parameter.sum() for parameter in self.supervision.parameters()]).sum() * 0
        for task in TASKS:
            own = [loss for loss, answer in zip(losses, seen.answers, strict=True) if answer.task == task]
            terms[f"semantic/{task}"] = added_up([*own, untouched.new_zeros(0)], plus=untouched)
        return terms


class Objective(audiovae.Objective):
    """Stage 2. Makes a bundle with the semantic encoder among its training parts, and nothing of the rest."""

    def __init__(self, cfg: Config, bundle: Bundle, *, seed: int) -> None:
        self.wavlm: WavLM | None = None
        if cfg.wavlm is not None:
            try:
                self.wavlm = WavLM(cfg.wavlm, layer=cfg.wavlm_layer)
            except WeightsError as error:
                raise ManifestError("objective.wavlm", [str(error)]) from None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 1)
            self.supervision = Supervision(
                bundle.config,
                words=len(bundle.tokenizer),
                head=HeadConfig(**cfg.head.model_dump()),
                teacher_width=None if self.wavlm is None else self.wavlm.width,
            )
        trained = bundle.training.get("semantic_encoder")
        take(self.supervision.encoder, trained, part="semantic_encoder")
        if trained is None and bundle.latent_mean_D is not None and bundle.latent_var_D is not None:
            self.supervision.encoder.expect(bundle.latent_mean_D, bundle.latent_var_D)
        super().__init__(cfg, bundle, seed=seed)
        if cfg.wavlm is None:
            self.notes += (
                "semantic/wavlm is not part of this run: objective.wavlm names no folder with WavLM weights",
            )
        reading = {f"semantic/{task}": float(getattr(cfg, f"{task}_weight")) for task in TASKS}
        if self.wavlm is not None:
            reading["semantic/wavlm"] = cfg.wavlm_weight
        self.weights = {**self.weights, "generator": {**self.weights["generator"], **reading}}

    def generator(self) -> Player:
        """Stage 1's generator with its readers."""
        return ReadPlayer(
            self.vae, self.flow, discriminator=self.discriminator, cfg=self.cfg, supervision=self.supervision
        )

    def prepare(self, batch: Batch, draw: Draw) -> Supervised:
        """Crops as in stage 1; whole utterances with their noise, WavLM's features, and what should be said of them."""
        config = self.vae.config
        frames = [int(length) // config.hop for length in batch.length_B]
        noise_BFD = draw.normal(
            "audiovae/read", (batch.wave_BS.shape[1] // config.hop, config.latent_dim), lengths=frames
        )
        teacher_BFW = None
        if self.wavlm is not None:
            teacher_BFW = self.wavlm.features(batch.wave_BS, batch.length_B, hop=config.hop)
        return Supervised(
            crops=self.crops(batch, draw),
            wave_BS=batch.wave_BS,
            length_B=batch.length_B,
            frames=frames,
            noise_BFD=noise_BFD.to(batch.wave_BS.device),
            teacher_BFW=teacher_BFW,
            answers=self.answers(batch),
        )

    def answers(self, batch: Batch) -> list[Answer]:
        """What is known of each utterance: its text, its speaker, its emotion; an unknown one is not asked for."""
        said: dict[str, Sequence[str | None]] = dict(
            zip(TASKS, (batch.texts, batch.speakers, batch.emotions), strict=True)
        )
        return [
            Answer(number, task, list(self.bundle.tokenizer.encode(text, add_special_tokens=False)))
            for task in TASKS
            for number, text in enumerate(said[task])
            if text
        ]

    def finish(self, batches: Iterable[Batch]) -> Bundle:
        """Stage 1's bundle with the trained semantic encoder; the language model is thrown away."""
        bundle = super().finish(batches)
        state = self.supervision.encoder.state_dict()
        bundle.training["semantic_encoder"] = {name: tensor.detach().cpu() for name, tensor in state.items()}
        return bundle


def added_up(losses: list[Tensor], *, plus: Tensor | float = 0.0) -> Term:
    """All items of all tensors as one total (and what is added to it), and their count."""
    every = torch.cat(losses)
    return Term(every.sum() + plus, torch.tensor(float(every.numel()), device=every.device))
