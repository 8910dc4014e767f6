"""The block-causal [C|Z] layout: clean history beside noisy copies, so that one pass trains every patch in parallel.

A unit is `[H_n, frames of patch n]`; C holds the units with clean frames, Z the same units with noisy ones. One row may
hold several utterances one behind the other (packed): first C of all of them, then Z of all. Padded on the right, all
rows of a batch have the layout of the longest utterance: units of padding come later than all others, so nothing real
looks at them, and no mask of its own is needed for an utterance.
"""

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask


CHUNK = 16
"""Units of Z that attend together: fewer make more calls, more compute more pairs that the mask then takes out."""


class Piece(NamedTuple):
    """Rows that attend together, and the only columns that any of them sees."""

    rows: slice
    columns: tuple[slice, ...]
    mask: Tensor | None
    """(rows, columns), or None where attention is causal: rows and columns are the same then."""


class Layout(NamedTuple):
    """L = 2 * patches * unit tokens: C, then Z. What is known of each token."""

    position_L: Tensor
    """In its utterance. Z restarts at 0, so that (H_n, Z_n) stand where (H_n, P_n) stand."""
    unit_L: Tensor
    """Number of its unit, counted over all utterances."""
    utterance_L: Tensor
    noisy_L: Tensor
    """True in Z."""

    def sees(self, row: Tensor, column: Tensor) -> Tensor:
        """Whether a token looks at another: C at C causally and never at Z, Z_n at units of C before n and at itself.

        H_n reaches Z_n through its copy in Z.
        """
        causal = ~self.noisy_L[row] & (self.position_L[column] <= self.position_L[row])
        earlier = self.noisy_L[row] & (self.unit_L[column] < self.unit_L[row])
        own = self.noisy_L[row] & self.noisy_L[column] & (self.unit_L[column] == self.unit_L[row])
        together = self.utterance_L[row] == self.utterance_L[column]
        return together & ((~self.noisy_L[column] & (causal | earlier)) | own)

    def dense(self) -> Tensor:
        """`sees` of all pairs: exact, and (L, L) in size."""
        every_L = torch.arange(len(self.position_L), device=self.position_L.device)
        return self.sees(every_L[:, None], every_L[None])

    def pieces(self, patches: list[int], *, unit: int) -> list[Piece]:
        """`sees`, for utterances of so many patches, as attention of fewer pairs: a quarter of all, for one utterance.

        C of an utterance is causal; `CHUNK` units of its Z at a time see C before the last of them, and themselves.
        In order of their rows, which they cover.
        """
        half, device = len(self.position_L) // 2, self.position_L.device
        clean, noisy, start = [], [], 0
        for count in patches:
            own = slice(start, start + count * unit)
            clean.append(Piece(own, (own,), None))
            for first in range(0, count, CHUNK):
                last = min(first + CHUNK, count)
                rows = slice(half + start + first * unit, half + start + last * unit)
                columns = (slice(start, start + (last - 1) * unit), rows)
                column_C = torch.cat([torch.arange(part.start, part.stop, device=device) for part in columns])
                row_L1 = torch.arange(rows.start, rows.stop, device=device)[:, None]
                noisy.append(Piece(rows, columns, self.sees(row_L1, column_C)))
            start += count * unit
        return [*clean, *noisy]

    def block_mask(self) -> "BlockMask":
        """`sees` for FlexAttention: blocks where nobody looks are skipped."""
        from torch.nn.attention.flex_attention import create_block_mask

        length, device = len(self.position_L), self.position_L.device
        return create_block_mask(lambda b, h, row, column: self.sees(row, column), None, None, length, length, device)


def packed_layout(patches_B: Tensor, *, unit: int) -> Layout:
    """Utterances of so many patches, one behind the other."""
    tokens_B = patches_B * unit
    start_B = tokens_B.cumsum(0) - tokens_B
    utterance_T = torch.repeat_interleave(torch.arange(len(patches_B), device=patches_B.device), tokens_B)
    token_T = torch.arange(len(utterance_T), device=patches_B.device)
    position_T, unit_T = token_T - start_B[utterance_T], token_T // unit
    noisy_L = torch.arange(2 * len(token_T), device=patches_B.device) >= len(token_T)
    return Layout(position_T.repeat(2), unit_T.repeat(2), utterance_T.repeat(2), noisy_L)


def parallel_layout(patches: int, *, unit: int, device: torch.device | None = None) -> Layout:
    """One utterance, or a batch of them padded to so many patches."""
    return packed_layout(torch.tensor([patches], device=device), unit=unit)


def causal_within(length_B: Tensor) -> tuple[Tensor, Tensor]:
    """Positions (L,) and mask (L, L) of causal attention inside sequences that lie one behind the other."""
    sequence_L = torch.repeat_interleave(torch.arange(len(length_B), device=length_B.device), length_B)
    every_L = torch.arange(len(sequence_L), device=length_B.device)
    position_L = every_L - (length_B.cumsum(0) - length_B)[sequence_L]
    return position_L, (sequence_L[:, None] == sequence_L[None]) & (every_L[None] <= every_L[:, None])


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
