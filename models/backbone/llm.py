"""The language model: Qwen2 of transformers, without the output layer that nothing reads."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.backbone.history import KeyValues
from models.backbone.layout import causal_within
from models.backbone.linear import Linear
from models.backbone.state import LanguageState
from models.backbone.static import StaticLanguage
from models.backbone.static_llm import behind_static

if TYPE_CHECKING:
    from transformers import Qwen2Config

NOT_OF_THE_NETWORK = ("model_type", "attn_implementation", "_attn_implementation")
"""Keys of llm_config.json that say what computes, not what is computed."""


class LanguageModel(nn.Module):
    """Embeddings in, hidden states after the last norm out.

    `lm_head` exists only where it is not tied to the embedding, as in the files: a tied one is never stored.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        from transformers import Qwen2Config, Qwen2Model

        if config.get("use_sliding_window"):
            raise ValueError("llm_config.json: use_sliding_window is true, and no release has windows; set it to false")
        given = {key: value for key, value in config.items() if key not in NOT_OF_THE_NETWORK}
        self.config = Qwen2Config(**given, attn_implementation="sdpa")  # our masks are boolean
        check_heads(self.config)
        self.model = Qwen2Model(self.config)
        for module in list(self.model.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.Linear):
                    setattr(module, name, Linear.sharing(child))
        if not config.get("tie_word_embeddings", False):
            self.lm_head = nn.Linear(self.config.hidden_size, self.config.vocab_size, bias=False)

    def start(self) -> LanguageState:
        """The state before the first token."""
        return LanguageState([KeyValues() for _ in range(self.config.num_hidden_layers)])

    def embed(self, ids_BT: Tensor) -> Tensor:
        """Token embeddings: (B, T) -> (B, T, H)."""
        return cast(Tensor, self.model.embed_tokens(ids_BT))

    def forward(
        self,
        embedding_BLH: Tensor,
        state: LanguageState | StaticLanguage | None = None,
        *,
        real_BL: Tensor | None = None,
        length_N: Tensor | None = None,
    ) -> Tensor:
        """Hidden states; with `state`, behind what it holds. Right padding needs no mask, since attention is causal.

        Shapes: (B, L, H) -> (B, L, H). `real_BL` (with `state`): rows that have fewer new tokens begin with ones that
        are not real; nothing real looks at them. `length_N` (without): the only row holds sequences of these lengths.
        """
        if length_N is not None:
            position_L, mask_LL = causal_within(length_N)
            out = self.model(
                inputs_embeds=embedding_BLH,
                position_ids=position_L[None],
                attention_mask={"full_attention": mask_LL[None, None]},
                use_cache=False,
            )
            return cast(Tensor, out.last_hidden_state)
        if state is None:
            return cast(Tensor, self.model(inputs_embeds=embedding_BLH, use_cache=False).last_hidden_state)
        if isinstance(state, StaticLanguage):
            assert real_BL is None
            return behind_static(self.model, embedding_BLH, state)
        mask, position_BL = state.attended(embedding_BLH, real_BL)
        out = self.model(
            inputs_embeds=embedding_BLH,
            position_ids=position_BL,
            attention_mask={"full_attention": mask},  # transformers takes a table of masks as it is
            past_key_values=state,
            use_cache=True,
        )
        return cast(Tensor, out.last_hidden_state)

    def set_rotary(self, dtype: torch.dtype) -> None:
        """Round the rotary frequencies to `dtype`; those of positions are computed in float32 from them in any case.

        Casting the network rounds them too: this undoes that, or does it where the network was not cast.
        """
        rotary = self.model.rotary_emb
        if rotary.rope_type != "default":
            raise ValueError(f"rope_type is {rotary.rope_type!r}, and no release has another than 'default'")
        exact, _ = rotary.compute_default_rope_parameters(self.config)
        rotary.inv_freq = exact.to(rotary.inv_freq.device, dtype).float()

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


def check_heads(config: "Qwen2Config") -> None:
    """Raises: ValueError for heads that transformers builds, and that fail at the first token."""
    heads, groups = config.num_attention_heads, config.num_key_value_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    if heads % groups:
        raise ValueError(f"llm_config.json: num_attention_heads {heads} is no multiple of num_key_value_heads {groups}")
    if head_dim % 2:
        raise ValueError(f"llm_config.json: {heads} heads of {head_dim} cannot be rotated; their width must be even")
