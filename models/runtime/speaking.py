"""Generations under way, in step: what LLM, semantic encoder and head carry, and the patch that was made last.

A patch is heard (by head, semantic encoder and LLM) only when the next one is asked for: the last is never heard, the
first can be played before, and text that has come meanwhile is read in the same pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from models.backbone.backbone import Backbone
from models.backbone.flow import Sampler, sampler_for
from models.backbone.state import HeadState, State, join_heads, join_states
from models.runtime.draws import Draws
from models.runtime.files import BundleError
from models.runtime.prompt import RequestError
from models.runtime.voice import Voice

if TYPE_CHECKING:
    from models.backbone.config import ModelConfig
    from models.runtime.bundle import Bundle


@dataclass(frozen=True)
class Parts:
    """What of a bundle makes patches."""

    backbone: Backbone
    mean_D: Tensor
    std_D: Tensor

    def raw(self, patch_BKD: Tensor) -> Tensor:
        """Patches as semantic encoder and AudioVAE take them."""
        return patch_BKD * self.std_D + self.mean_D

    def normalized(self, raw_BKD: Tensor) -> Tensor:
        """The reverse: patches as the head takes and makes them."""
        return (raw_BKD - self.mean_D) / self.std_D


@dataclass(frozen=True)
class Opening:
    """How a generation begins."""

    voice: Voice
    speaker_scale: float
    words: Sequence[Sequence[int]]
    """What is read before each patch of the prompt, and before the first own patch."""
    most: int
    """Own patches that may come, for which memory is reserved."""

    @property
    def ids(self) -> list[int]:
        """All of the text's tokens."""
        return [token for chunk in self.words for token in chunk]


@dataclass
class Speaking:
    """Some generations with one sampler; rows in the order of the generations."""

    parts: Parts
    state: State
    head: HeadState
    hidden_BH: Tensor
    """Before the next patch, once the last one has been heard."""
    made_BKD: Tensor | None = None
    """The last patch, normalized, where it has not been heard."""

    @property
    def rows(self) -> int:
        """Generations in it."""
        return len(self.hidden_BH)

    def stop_probability(self) -> Tensor:
        """Whether the next patch is the last one, (B,)."""
        return self.parts.backbone.stop_probability(self.hidden_BH)

    def sample(self, draws: Sequence[Draws]) -> Tensor:
        """Make the next patch, normalized: (B, K, D)."""
        backbone = self.parts.backbone
        shape = (backbone.config.patch_size, backbone.config.latent_dim)
        pairs = [
            (one.normal(1, *shape), one.normal(1, *shape) if self.head.sampler.renoises else None) for one in draws
        ]
        noise_BKD = torch.cat([noise for noise, _ in pairs]).to(backbone.device)
        again = [renoise for _, renoise in pairs if renoise is not None]
        renoise_BKD = torch.cat(again).to(backbone.device) if again else None
        self.made_BKD = backbone.sample_patch(self.head, self.hidden_BH, noise_BKD, renoise_BKD)
        return self.made_BKD

    @torch.no_grad()
    def advance(self, words: Sequence[Sequence[int]]) -> None:
        """Hear the last patch and read text tokens (maybe none) behind it, a list a generation."""
        backbone, inputs = self.parts.backbone, []
        if self.made_BKD is not None:
            backbone.append_patches(self.head, self.hidden_BH, self.made_BKD)
            inputs = list(backbone.embed_patches(self.state, self.parts.raw(self.made_BKD)))
            self.made_BKD = None
        rows_LH = []
        for row, ids in enumerate(words):
            text_TH = backbone.embed_text(torch.tensor(ids, dtype=torch.long, device=backbone.device))
            rows_LH.append(torch.cat([inputs[row], text_TH]) if inputs else text_TH)
        longest = max(len(row) for row in rows_LH)
        if not longest:
            return
        embedding_BLH = torch.stack([functional.pad(r, (0, 0, longest - len(r), 0)) for r in rows_LH])
        length_B1 = torch.tensor([[len(row)] for row in rows_LH], device=backbone.device)
        real_BL = torch.arange(longest, device=backbone.device) >= longest - length_B1
        uneven = any(len(row) != longest for row in rows_LH)
        hidden_BLH = backbone.prefill(self.state, embedding_BLH, real_BL=real_BL if uneven else None)
        self.hidden_BH = hidden_BLH[:, -1]

    def heard(self, unit: int) -> int:
        """Patches that the head has heard, the one that waits included."""
        return self.head.length // unit + (self.head.waiting_RUH is not None)

    def replace(self, raw_BKD: Tensor) -> None:
        """Hear another patch instead of the one that was made last."""
        self.made_BKD = self.parts.normalized(raw_BKD)

    def spoken(self) -> Tensor:
        """The patch that was made last, as the AudioVAE takes it: (B, K, D)."""
        assert self.made_BKD is not None
        return self.parts.raw(self.made_BKD)

    def finite(self) -> Tensor:
        """Whether that patch is made of numbers, (B,)."""
        return self.spoken().isfinite().all(dim=2).all(dim=1)

    def keep_rows(self, rows: Sequence[int]) -> None:
        """Forget all generations but these."""
        if len(rows) == self.rows:
            return
        index_B = torch.tensor(rows, dtype=torch.long, device=self.hidden_BH.device)
        self.state.keep_rows(index_B)
        self.head.keep_rows(index_B)
        self.hidden_BH = self.hidden_BH[index_B]
        self.made_BKD = None if self.made_BKD is None else self.made_BKD[index_B]


def not_finite() -> RequestError:
    """What is said of latents that are no numbers."""
    return RequestError(
        "the model made latents that are not numbers (NaN or infinite), and nothing can be heard of them; "
        "lower guidance_scale and speaker_scale, give another prompt, or check the checkpoint"
    )


@torch.no_grad()
def begin(parts: Parts, sampler: Sampler, opening: Opening) -> Speaking:
    """One generation, having read and heard all that comes before its first own patch."""
    backbone, voice, words = parts.backbone, opening.voice, opening.words
    state = backbone.start()
    speaker_1H = backbone.speaker(voice.xvector_1E, scale=opening.speaker_scale)
    head = backbone.start_head(sampler, speaker_1H, patches=len(words) + opening.most)
    ids = torch.tensor(opening.ids, dtype=torch.long, device=backbone.device)
    text_THs = torch.split(backbone.embed_text(ids), [len(chunk) for chunk in words])
    latent_1FD = voice.latent_1FD
    if latent_1FD is None or not latent_1FD.shape[1]:
        hidden_1LH = backbone.prefill(state, torch.cat(text_THs)[None])
        return Speaking(parts, state, head, hidden_1LH[:, -1])
    patch_PH = backbone.embed_patches(state, latent_1FD)[0]
    pieces, before, length = [], [], 0
    for number, text_TH in enumerate(text_THs):
        pieces.append(text_TH)
        length += len(text_TH)
        if number < len(patch_PH):
            before.append(length - 1)
            pieces.append(patch_PH[number : number + 1])
            length += 1
    hidden_1LH = backbone.prefill(state, torch.cat(pieces)[None])
    backbone.append_patches(head, hidden_1LH[:, before], parts.normalized(latent_1FD))
    return Speaking(parts, state, head, hidden_1LH[:, -1])


def together(some: Sequence[Speaking]) -> Speaking:
    """Generations side by side; they share a sampler, and either all or none have a patch to be heard."""
    if len(some) == 1:
        return some[0]
    for one in some:
        one.parts.backbone.settle(one.head)
    made = [one.made_BKD for one in some if one.made_BKD is not None]
    assert len(made) in (0, len(some))
    return Speaking(
        some[0].parts,
        join_states([one.state for one in some]),
        join_heads([one.head for one in some]),
        torch.cat([one.hidden_BH for one in some]),
        torch.cat(made) if made else None,
    )


def speaking_parts(bundle: "Bundle") -> Parts:
    """Backbone and latent statistics.

    Raises: BundleError when the bundle has none yet.
    """
    if bundle.backbone is None or bundle.latent_mean_D is None or bundle.latent_var_D is None:
        raise BundleError(
            "this bundle has no backbone yet: it came out of an AudioVAE stage, and cannot speak; "
            "train a backbone stage on it, or load a released checkpoint"
        )
    device = bundle.backbone.device
    return Parts(bundle.backbone, bundle.latent_mean_D.to(device), bundle.latent_var_D.sqrt().to(device))


def sampler_of(
    config: "ModelConfig", *, method: str | None, num_steps: int | None, guidance_scale: float | None
) -> Sampler:
    """The sampler that was asked for.

    Raises: RequestError when the model does not allow it.
    """
    try:
        return sampler_for(config, method=method, steps=num_steps, guidance=guidance_scale)
    except ValueError as error:
        raise RequestError(str(error)) from None


def check_positions(bundle: "Bundle", positions: int) -> None:
    """Speech that goes on beyond the positions that the LLM was made for is made all the same, as officially.

    Raises: RequestError when text and prompt alone leave no place for a patch.
    """
    limit = int(bundle.config.llm.get("max_position_embeddings", positions))
    if positions > limit:
        raise RequestError(
            f"text, prompt and a first patch come to {positions} positions, and this model has {limit}; "
            "split the text, or shorten the prompt"
        )
