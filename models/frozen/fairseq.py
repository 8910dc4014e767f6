"""Networks of the wav2vec 2.0 family as fairseq stored them: its names in those of transformers, and what tensors say
of a network's shape."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

STRIDES = (5, 2, 2, 2, 2, 2, 2)
"""Of the convolutions; they cannot be read off the tensors."""
TO_TRANSFORMERS = {
    r"\.feature_extractor\.conv_layers\.(\d+)\.0\.": r".feature_extractor.conv_layers.\1.conv.",
    r"\.feature_extractor\.conv_layers\.(\d+)\.2\.(1\.)?": r".feature_extractor.conv_layers.\1.layer_norm.",
    r"\.post_extract_proj\.": ".feature_projection.projection.",
    r"\.pos_conv\.0\.weight_g$": ".pos_conv_embed.conv.parametrizations.weight.original0",
    r"\.pos_conv\.0\.weight_v$": ".pos_conv_embed.conv.parametrizations.weight.original1",
    r"\.pos_conv\.0\.": ".pos_conv_embed.conv.",
    r"\.self_attn\.": ".attention.",
    r"\.self_attn_layer_norm\.": ".layer_norm.",
    r"\.fc1\.": ".feed_forward.intermediate_dense.",
    r"\.fc2\.": ".feed_forward.output_dense.",
}


def replaced(name: str, rules: Mapping[str, str]) -> str:
    """The name after every rule that fits."""
    for pattern, replacement in rules.items():
        name = re.sub(pattern, replacement, name)
    return name


def shape_of(state: Mapping[str, Tensor], root: str) -> dict[str, Any]:
    """Settings of transformers for the network whose tensors stand under `root`: widths, depth, kernels; no dropout.

    Raises: KeyError, IndexError where it is another network.
    """
    convolutions = [state[f"{root}.feature_extractor.conv_layers.{n}.0.weight"] for n in range(len(STRIDES))]
    position = state[f"{root}.encoder.pos_conv.0.weight_v"]
    width = position.shape[0]
    layer = re.compile(rf"{re.escape(root)}\.encoder\.layers\.(\d+)\.")
    return {
        "hidden_size": width,
        "num_hidden_layers": len({match[1] for name in state if (match := layer.match(name))}),
        "intermediate_size": state[f"{root}.encoder.layers.0.fc1.weight"].shape[0],
        "conv_dim": [weight.shape[0] for weight in convolutions],
        "conv_kernel": [weight.shape[2] for weight in convolutions],
        "conv_stride": list(STRIDES),
        "num_feat_extract_layers": len(STRIDES),
        "num_conv_pos_embeddings": position.shape[2],
        "num_conv_pos_embedding_groups": width // position.shape[1],
        "mask_time_prob": 0.0,
        "mask_feature_prob": 0.0,
        "layerdrop": 0.0,
    }
