"""The block-causal [C|Z] layout: clean history beside noisy copies, so that one pass trains every patch in parallel.

A unit is `[H_n, frames of patch n]`; C holds the units with clean frames, Z the same units with noisy ones. Every
utterance of a batch has the same layout: right-padded units come later than all others, so nothing real looks at them,
and no mask of its own is needed for an utterance.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Layout(NamedTuple):
    """L = 2 * patches * unit tokens: C, then Z."""

    position_L: Tensor
    mask_LL: Tensor
    """True where a row may look at a column."""


def parallel_layout(patches: int, *, unit: int, device: torch.device | None = None) -> Layout:
    """Positions and mask: C to C causal, C to Z nothing, Z_n to the units of C before n and to itself.

    Z restarts at position 0, so that (H_n, Z_n) stand where (H_n, P_n) stand. H_n reaches Z_n through its copy in Z.
    """
    token_T = torch.arange(patches * unit, device=device)
    block_T = token_T // unit
    causal_TT = token_T[:, None] >= token_T[None, :]
    earlier_TT = block_T[:, None] > block_T[None, :]
    own_TT = block_T[:, None] == block_T[None, :]
    clean_TL = torch.cat([causal_TT, torch.zeros_like(causal_TT)], dim=1)
    noisy_TL = torch.cat([earlier_TT, own_TT], dim=1)
    return Layout(torch.cat([token_T, token_T]), torch.cat([clean_TL, noisy_TL]))


def units(hidden_BPH: Tensor, frame_BFH: Tensor) -> Tensor:
    """Join each hidden state with its patch: (B, P, H) and (B, P * K, H) -> (B, P * (K + 1), H)."""
    B, P, H = hidden_BPH.shape
    patch_BPKH = frame_BFH.reshape(B, P, frame_BFH.shape[1] // P if P else 0, H)
    return torch.cat([hidden_BPH[:, :, None], patch_BPKH], dim=2).flatten(1, 2)


def frames(token_BTH: Tensor, *, unit: int) -> Tensor:
    """The frames of units, without the hidden states: (B, P * (K + 1), H) -> (B, P * K, H)."""
    B, T, H = token_BTH.shape
    return token_BTH.reshape(B, T // unit, unit, H)[:, :, 1:].flatten(1, 2)


def valid_patches(patches_B: Tensor, longest: int | None = None) -> Tensor:
    """True for real patches, false for padding: (B,) -> (B, P)."""
    P = int(patches_B.max()) if longest is None else longest
    return torch.arange(P, device=patches_B.device)[None] < patches_B[:, None]


def gather(source_BLH: Tensor, *, at_BL: Tensor, valid_BP: Tensor) -> Tensor:
    """The marked positions of each row, in order, right-padded with zeros: (B, L, H) -> (B, P, H)."""
    empty_BPH = source_BLH.new_zeros(*valid_BP.shape, source_BLH.shape[-1])
    return empty_BPH.masked_scatter(valid_BP[..., None], source_BLH[at_BL])


def scatter(target_BLH: Tensor, source_BPH: Tensor, *, at_BL: Tensor, valid_BP: Tensor) -> Tensor:
    """Put the valid entries of `source_BPH`, in order, at the marked positions of `target_BLH`: gather reversed."""
    return target_BLH.masked_scatter(at_BL[..., None], source_BPH[valid_BP].to(target_BLH.dtype))
