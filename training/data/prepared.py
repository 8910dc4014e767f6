"""The frozen front end of the backbone's objectives: audio and text to latents, x-vectors and token ids."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from models.audiovae.vae import Posterior
from models.backbone.backbone import Backbone
from models.backbone.layout import gather, valid_patches
from models.runtime.bundle import Bundle, BundleError
from models.runtime.latents import encoder_digest
from models.text.language import tagged
from models.text.tokens import Example, Layout, training_example
from training.data.collate import Utterance
from training.data.draw import Draw
from training.objectives import Batch, Stored

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

REMEMBERED = 10_000
"""x-vectors kept by sample key, 2 KiB each: the frozen CAM++ says the same every epoch."""
REMEMBERED_LATENTS = 16_000_000
"""Numbers of posterior means kept by sample key, as many deviations beside them: 128 MB, 80 minutes of speech at full
width. A small corpus is encoded once, and a large one as it comes."""

Facts = TypeVar("Facts", bound="DataclassInstance")


@dataclass(frozen=True)
class Prepared:
    """A batch as the backbone sees it: what the frozen networks and the tokenizer make of audio and text."""

    ids_BL: Tensor
    audio_BL: Tensor
    """True at placeholders, where patch embeddings stand."""
    speaks_BL: Tensor
    """True where the hidden state makes the next patch."""
    latent_BFD: Tensor
    """Raw sampled latents: what the semantic encoder hears."""
    clean_BFD: Tensor
    """The same, normalized: history and target of the head."""
    patches_B: Tensor
    xvector_BE: Tensor

    @property
    def valid(self) -> Tensor:
        """True for real patches."""
        return valid_patches(self.patches_B, self.longest)

    @property
    def longest(self) -> int:
        """Patches of the longest utterance."""
        return int(self.patches_B.max())

    def hidden(self, backbone: Backbone) -> Tensor:
        """The hidden state before each patch, right-padded with zeros: (B, P, H)."""
        valid_BP = self.valid
        hidden_BLH = backbone.hidden(self.ids_BL, self.latent_BFD, audio_BL=self.audio_BL, valid_BP=valid_BP)
        return gather(hidden_BLH, at_BL=self.speaks_BL, valid_BP=valid_BP)


def placed(facts: Facts, device: torch.device) -> Facts:
    """A dataclass of tensors, on `device`."""
    return replace(facts, **{item.name: getattr(facts, item.name).to(device) for item in fields(facts)})


class Frontend(nn.Module):
    """The frozen networks: audio and text to what the backbone sees. Each utterance is heard as if it were alone."""

    mean_D: Tensor
    std_D: Tensor

    def __init__(self, bundle: Bundle) -> None:
        """Raises: BundleError when the bundle has no latent statistics yet."""
        super().__init__()
        if bundle.latent_mean_D is None or bundle.latent_var_D is None:
            raise BundleError("this bundle has no latent statistics: train the AudioVAE first (audiovae_stage1)")
        self.config, self.tokenizer = bundle.config, bundle.tokenizer
        self.audiovae = bundle.audiovae.eval().requires_grad_(False)
        self.speaker = bundle.speaker.eval().requires_grad_(False)
        self.register_buffer("mean_D", bundle.latent_mean_D.float())
        self.register_buffer("std_D", bundle.latent_var_D.float().sqrt())
        self.heard: dict[tuple[str, int], Tensor] = {}
        self.posteriors: dict[tuple[str, int], Posterior] = {}
        self.remembered = 0

    def train(self, mode: bool = True) -> "Frontend":
        """Always in evaluation mode: a frozen CAM++ keeps its running statistics."""
        del mode
        return super().train(False)

    @torch.no_grad()
    def prepare(
        self,
        batch: Batch,
        draw: Draw,
        *,
        layouts: Mapping[Layout, float],
        language_tag: float,
        keep_speaker_B: Tensor | None = None,
    ) -> Prepared:
        """Posterior samples, x-vectors, and token ids of a batch; zeros for voices that are not kept."""
        device = batch.wave_BS.device
        patches_B = (batch.length_B // self.config.patch_samples).to(device)
        with torch.autocast(device.type, enabled=False):  # what shards store and what is remembered is float32
            latent_BFD = self.latents(batch, draw)
            xvector_BE = self.xvectors(batch, draw, keep_B=keep_speaker_B)
        examples = self.examples(batch, draw, layouts=layouts, language_tag=language_tag)
        ids_BL, audio_BL, speaks_BL = stacked(examples)
        return Prepared(
            ids_BL=ids_BL.to(device),
            audio_BL=audio_BL.to(device),
            speaks_BL=speaks_BL.to(device),
            latent_BFD=latent_BFD,
            clean_BFD=(latent_BFD - self.mean_D) / self.std_D,
            patches_B=patches_B,
            xvector_BE=xvector_BE,
        )

    def latents(self, batch: Batch, draw: Draw) -> Tensor:
        """A sample of each utterance's posterior, right-padded with zeros: (B, F, D). Each is encoded alone: the
        encoder's look-ahead would hear padding, and what is remembered must not depend on the company it was in.
        Where the shard has its latents by this encoder, it is not encoded."""
        hop = self.config.audiovae.hop
        frames = [int(length) // hop for length in batch.length_B]
        shape = (max(frames), self.config.latent_dim)
        noise_BFD = draw.normal("posterior", shape, lengths=frames).to(batch.wave_BS.device)
        latent_BFD = torch.zeros_like(noise_BFD)
        for number, (key, count) in enumerate(zip(batch.keys, frames, strict=True)):
            found = self.posteriors.get((key, count)) or self.stored(batch, number, count=count)
            if found is None:
                assert is_heard(batch, number), f"{key}: neither its sound nor its latents are there"
                found = self.audiovae.encode(batch.wave_BS[number : number + 1, : count * hop])
                if self.remembered + found.mean_BFD.numel() <= REMEMBERED_LATENTS:
                    self.remembered += found.mean_BFD.numel()
                    self.posteriors[key, count] = found
            latent_BFD[number, :count] = found.sample(noise_BFD[number : number + 1, :count])[0]
        return latent_BFD

    def stored(self, batch: Batch, number: int, *, count: int) -> Posterior | None:
        """The posterior that the shard has of an utterance, where this very encoder made it; None otherwise."""
        kept = batch.stored[number] if batch.stored else None
        if kept is None or not self.own(kept, count=count):
            return None
        device = batch.wave_BS.device
        return Posterior(kept.mean_FD[None].to(device), kept.log_std_FD[None].to(device))

    def own(self, kept: Stored, *, count: int) -> bool:
        """Did this very encoder make these latents, of as many frames?"""
        return kept.by == self.encoder and len(kept.mean_FD) == count

    def hears(self, one: Utterance, *, voice: bool) -> bool:
        """Must an utterance with stored latents be heard, for them or for its `voice`? Asked while a batch is read,
        beside `prepare`: what is remembered by then is never forgotten."""
        count = one.stored_samples // self.config.audiovae.hop
        known = (one.key, count) in self.posteriors or (one.stored is not None and self.own(one.stored, count=count))
        return not known or (voice and (one.key, one.stored_samples) not in self.heard)

    @cached_property
    def encoder(self) -> str:
        """Digest of the AudioVAE's encoder."""
        return encoder_digest(self.audiovae)

    def xvectors(self, batch: Batch, draw: Draw, *, keep_B: Tensor | None = None) -> Tensor:
        """The voice of each utterance that keeps it, from a random crop where it is long; zeros for the others."""
        rate_hz, limit = self.config.audiovae.sample_rate, self.config.xvec_max_audio_seconds
        where_B = draw.uniform("crop_xvector")
        rows = []
        for number, key in enumerate(batch.keys):
            if keep_B is not None and not keep_B[number]:
                rows.append(self.mean_D.new_zeros(self.config.campplus_embedding_size))
                continue
            length = int(batch.length_B[number])
            spare = max(0, length - round(limit * rate_hz)) if limit > 0 else 0
            found = self.heard.get((key, length))
            if found is None:
                assert is_heard(batch, number), f"{key}: its voice is asked for, but not its sound"
                start_B = (where_B[number : number + 1] * (spare + 1)).long()
                wave_1S = batch.wave_BS[number : number + 1, :length]
                found = self.speaker.embed(wave_1S, crop_start_B=start_B, max_seconds=limit)[0]
                if not spare and len(self.heard) < REMEMBERED:
                    self.heard[key, length] = found
            rows.append(found)
        return torch.stack(rows)

    def examples(
        self, batch: Batch, draw: Draw, *, layouts: Mapping[Layout, float], language_tag: float
    ) -> list[Example]:
        """Token ids of each utterance, its layout drawn by the shares; text and patches alternate as this bundle will
        be asked to speak (`streaming` in config.json). A caption comes first, whole, and without a language's tag."""
        names = list(layouts)
        share = torch.tensor([layouts[name] for name in names], dtype=torch.float64).cumsum(0)
        pick_B = torch.searchsorted(share / share[-1], draw.uniform("layout").double(), right=True)
        tag_B = draw.uniform("language_tag") < language_tag
        found = []
        for number, text in enumerate(batch.texts):
            template, layout = batch.template(number), names[min(int(pick_B[number]), len(names) - 1)]
            if template != "tts":
                words, layout = text, "plain"
            else:
                words = tagged_where_known(text, batch.languages[number]) if bool(tag_B[number]) else text
            asked: dict[str, Any] = {"layout": layout, "template": template, "streaming": self.config.streaming}
            patches = int(batch.length_B[number]) // self.config.patch_samples
            found.append(training_example(self.tokenizer, words, patches=patches, **asked))
        return found


def tagged_where_known(text: str, language: str | None) -> str:
    """The text with its language tag; without one where a corpus names what no tag stands for (`und`, `tok pisin`)."""
    try:
        return tagged(text, language)
    except ValueError:
        return text


def is_heard(batch: Batch, number: int) -> bool:
    """Is the waveform of an utterance in the batch?"""
    return not batch.heard or batch.heard[number]


def stacked(examples: Sequence[Example]) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, placeholders and speaking positions, right-padded: three times (B, L)."""
    longest = max(len(example.ids) for example in examples)

    def padded(rows: Iterable[Sequence[int]]) -> Tensor:
        return torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])

    return (
        padded(example.ids for example in examples),
        padded(example.audio for example in examples).bool(),
        padded(example.speaks for example in examples).bool(),
    )
