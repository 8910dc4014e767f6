"""What makes latents learnable in stage 2: the semantic encoder, a small language model that reads it, and a teacher.

HoliTok's and dots.tts's multitask block: the language model sees an utterance's embeddings as a prefix, then a task's
token, and says the text or the label. It is thrown away; the encoder becomes the backbone's semantic encoder.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.backbone.config import ModelConfig
from models.backbone.semantic_encoder import SemanticEncoder

TASKS = ("asr", "speaker", "emotion")
"""Each has a token of its own. Labels are said as text, so that any number of them needs no table."""


@dataclass(frozen=True)
class Answer:
    """What the language model should say of one utterance."""

    number: int
    """Which one of the batch."""
    task: str
    ids: list[int]
    """Tokens of the text or label; the end token is added."""


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """The language model on top: Qwen2.5-0.5B. Its width is that of the semantic encoder's output while it is there; a
    backbone of another width makes the encoder's last layer anew."""

    width: int = 896
    layers: int = 24
    heads: int = 14
    key_value_heads: int = 2
    ffn: int = 4864


class Supervision(nn.Module):
    """Trained together with the AudioVAE, whose encoder the gradients reach."""

    def __init__(self, config: ModelConfig, *, words: int, head: HeadConfig, teacher_width: int | None) -> None:
        super().__init__()
        from transformers import Qwen2Config, Qwen2Model

        self.words, self.patch_size = words, config.patch_size
        self.encoder = SemanticEncoder(
            config.semantic_encoder, latent_dim=config.latent_dim, patch_size=config.patch_size, hidden_size=head.width
        )
        self.head = Qwen2Model(
            Qwen2Config(
                vocab_size=words + len(TASKS) + 1,
                hidden_size=head.width,
                intermediate_size=head.ffn,
                num_hidden_layers=head.layers,
                num_attention_heads=head.heads,
                num_key_value_heads=head.key_value_heads,
            )
        )
        self.teacher_proj = None if teacher_width is None else nn.Linear(config.latent_dim, teacher_width)

    def prompt_and_targets(self, answer: Answer) -> tuple[list[int], list[int]]:
        """Token ids that go in behind the embeddings, and those that should come out, one for one."""
        end = self.words + len(TASKS)
        task = self.words + TASKS.index(answer.task)
        return [task, *answer.ids], [*answer.ids, end]

    def token_losses(self, latent_BFD: Tensor, frames_B: Sequence[int], answers: Sequence[Answer]) -> list[Tensor]:
        """Cross-entropy of every target token, a tensor an answer; raw (not normalized) latents."""
        if not answers:
            return []
        audio_BPH = self.encoder(latent_BFD)
        rows, targets, starts = [], [], []
        for answer in answers:
            ids, wanted = self.prompt_and_targets(answer)
            own_PH = audio_BPH[answer.number, : frames_B[answer.number] // self.patch_size]
            tokens_TH = self.head.embed_tokens(torch.tensor(ids, device=own_PH.device))
            rows.append(torch.cat([own_PH, tokens_TH.to(own_PH.dtype)]))
            targets.append(torch.tensor(wanted, device=own_PH.device))
            starts.append(len(own_PH))
        # right padding needs no mask, since attention is causal
        embedding_BLH = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        hidden_BLH = self.head(inputs_embeds=embedding_BLH, use_cache=False).last_hidden_state
        losses = []
        for hidden_LH, wanted_T, start in zip(hidden_BLH, targets, starts, strict=True):
            logits_TV = functional.linear(hidden_LH[start : start + len(wanted_T)], self.head.embed_tokens.weight)
            losses.append(functional.cross_entropy(logits_TV.float(), wanted_T, reduction="none"))
        return losses

    def alignment(self, latent_BFD: Tensor, teacher_BFW: Tensor, valid_BF: Tensor) -> Tensor:
        """1 - cosine of each valid latent frame, projected linearly, with the teacher's; shape (frames,)."""
        assert self.teacher_proj is not None
        projected = self.teacher_proj(latent_BFD)[valid_BF].float()
        return 1.0 - functional.cosine_similarity(projected, teacher_BFW[valid_BF].float(), dim=-1)
