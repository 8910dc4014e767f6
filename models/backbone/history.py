"""What attention layers have seen, kept from patch to patch: keys and values; several histories side by side."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional


class Past(Protocol):
    """Keys and values of what one attention layer has seen."""

    def join(
        self, key_BALE: Tensor, value_BALE: Tensor, *, keep: int, copy: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Past and new ones together, as `KeyValues.join` gives them."""
        ...


class KeyValues:
    """Keys and values of what one attention layer has seen.

    `copies`: how many histories lie one behind the other in the rows: one each network evaluation, say. `columns`: how
    many are expected in all. On a CPU they are reserved at once, since memory that nobody has written to costs nothing
    there; else, and beyond them, the buffers grow by a quarter, which copies all that they hold.
    """

    def __init__(self, copies: int = 1, *, columns: int = 0) -> None:
        self.copies, self.columns, self.length = copies, columns, 0
        self.key_BALE: Tensor | None = None
        self.value_BALE: Tensor | None = None

    def join(
        self, key_BALE: Tensor, value_BALE: Tensor, *, keep: int, copy: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Past and new keys and values together; the first `keep` new ones become part of the past.

        With `copy`, the new ones are of that copy alone (and are not kept), else of all copies.
        """
        rows, new = key_BALE.shape[0], key_BALE.shape[2]
        end, first = self.length + new, 0 if copy is None else copy * rows
        self.key_BALE = self.room(self.key_BALE, like_BALE=key_BALE, alone=copy is not None)
        self.value_BALE = self.room(self.value_BALE, like_BALE=value_BALE, alone=copy is not None)
        key, value = self.key_BALE[first : first + rows], self.value_BALE[first : first + rows]
        key[:, :, self.length : end] = key_BALE
        value[:, :, self.length : end] = value_BALE
        self.length += keep
        return key[:, :, :end], value[:, :, :end]

    def room(self, buffer_BALE: Tensor | None, *, like_BALE: Tensor, alone: bool) -> Tensor:
        """A buffer with room for `like_BALE` (of one copy, or of all) behind the past."""
        B, A, new, E = like_BALE.shape
        if buffer_BALE is not None and self.length + new <= buffer_BALE.shape[2]:
            return buffer_BALE
        rows = B * self.copies if alone else B
        larger_BALE = like_BALE.new_empty(rows, A, self.capacity(self.length + new, device=like_BALE.device), E)
        if buffer_BALE is not None:
            larger_BALE[:, :, : self.length] = buffer_BALE[:, :, : self.length]
        return larger_BALE

    def capacity(self, needed: int, *, device: torch.device) -> int:
        """Columns of a new buffer, in blocks of 64."""
        quarter_more = -(-5 * needed // 256) * 64
        return max(quarter_more, -(-self.columns // 64) * 64) if device.type == "cpu" else quarter_more

    def keep_rows(self, index_R: Tensor) -> None:
        """Forget all rows but these."""
        if self.key_BALE is not None and self.value_BALE is not None:
            self.key_BALE, self.value_BALE = self.taken(self.key_BALE, index_R), self.taken(self.value_BALE, index_R)

    def taken(self, buffer_BALE: Tensor, index_R: Tensor) -> Tensor:
        """These rows in a buffer as large: what has not been written is not read."""
        fewer_RALE = buffer_BALE.new_empty(len(index_R), *buffer_BALE.shape[1:])
        torch.index_select(buffer_BALE[:, :, : self.length], 0, index_R, out=fewer_RALE[:, :, : self.length])
        return fewer_RALE


def side_by_side(parts: Sequence[KeyValues], *, rows: Sequence[int], repeats: int = 1) -> KeyValues:
    """The histories of several batches, of `rows` requests each, as one: shorter ones get zeros on their left.

    `repeats`: how often the requests of a batch repeat in its rows (copies times guidance branches).
    """
    together = KeyValues(parts[0].copies, columns=max(part.columns for part in parts))
    together.length = max(part.length for part in parts)
    if not together.length:
        return together
    buffers = []
    for name in ("key_BALE", "value_BALE"):
        made = [getattr(part, name) for part in parts if part.length]
        _, A, _, E = made[0].shape
        columns = together.capacity(together.length, device=made[0].device)
        whole = made[0].new_empty(repeats, sum(rows), A, columns, E)
        first = 0
        for part, count in zip(parts, rows, strict=True):
            own, empty = whole[:, first : first + count], together.length - part.length
            own[:, :, :, :empty] = 0
            if part.length:
                past = getattr(part, name)[:, :, : part.length].unflatten(0, (repeats, count))
                own[:, :, :, empty : together.length] = past
            first += count
        buffers.append(whole.flatten(0, 1))
    together.key_BALE, together.value_BALE = buffers
    return together


def seen_columns(
    seen: Sequence[Tensor | None], *, lengths: Sequence[int], rows: Sequence[int], device: torch.device
) -> Tensor | None:
    """Which columns of joined histories hold something, (B, C); None where all do: those of unlike lengths do not."""
    longest = max(lengths)
    if all(part is None for part in seen) and len(set(lengths)) == 1:
        return None
    parts = []
    for part, length, count in zip(seen, lengths, rows, strict=True):
        own = torch.ones(count, length, dtype=torch.bool, device=device) if part is None else part
        parts.append(functional.pad(own, (longest - length, 0), value=False))
    return torch.cat(parts)
