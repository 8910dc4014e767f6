"""The language model: Qwen2 of transformers, without the output layer that nothing reads."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from transformers import DynamicCache


class LanguageModel(nn.Module):
    """Embeddings in, hidden states after the last norm out.

    `lm_head` exists only where it is not tied to the embedding, as in the files: a tied one is never stored.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        from transformers import Qwen2Config, Qwen2Model

        self.config = Qwen2Config(**{key: value for key, value in config.items() if key != "model_type"})
        self.model = Qwen2Model(self.config)
        if not config.get("tie_word_embeddings", False):
            self.lm_head = nn.Linear(self.config.hidden_size, self.config.vocab_size, bias=False)

    def start(self) -> "DynamicCache":
        """An empty cache of keys and values."""
        from transformers import DynamicCache

        return DynamicCache(config=self.config)

    def embed(self, ids_BT: Tensor) -> Tensor:
        """Token embeddings: (B, T) -> (B, T, H)."""
        return cast(Tensor, self.model.embed_tokens(ids_BT))

    def forward(self, embedding_BLH: Tensor, cache: "DynamicCache | None" = None) -> Tensor:
        """Hidden states; with `cache`, behind what it holds. Right padding needs no mask, since attention is causal.

        Shapes: (B, L, H) -> (B, L, H).
        """
        out = self.model(inputs_embeds=embedding_BLH, past_key_values=cache, use_cache=cache is not None)
        return cast(Tensor, out.last_hidden_state)

    def logits(self, hidden_BLH: Tensor) -> Tensor:
        """Scores of the next text token; no stage and no sampler reads them."""
        head = self.lm_head.weight if hasattr(self, "lm_head") else self.model.embed_tokens.weight
        return functional.linear(hidden_BLH, head)


def load_pretrained(llm: LanguageModel, folder: Path) -> int:
    """Fill `llm` from a local Qwen2 directory (safetensors); rows of tokens that it has not stay as they were drawn.

    Returns the number of embedding rows taken. Raises: ValueError where shapes do not fit.
    """
    from safetensors.torch import load_file

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ValueError(f"{folder} holds no .safetensors file; point llm_init at a local Qwen2 directory")
    given = {key: value for file in files for key, value in load_file(file).items()}
    own = llm.state_dict()
    name = "model.embed_tokens.weight"
    rows = min(len(given[name]), len(own[name])) if name in given else 0
    if rows and given[name].shape[1] == own[name].shape[1]:
        given[name] = torch.cat([given[name][:rows].float(), own[name][rows:]])
    wrong = [key for key in own if key not in given or given[key].shape != own[key].shape]
    if wrong:
        raise ValueError(f"{folder} does not fit llm_config: {len(wrong)} tensors differ, the first is {wrong[0]}")
    llm.load_state_dict({key: given[key] for key in own})
    return rows
