"""The [C|Z] layout: who may look at whom, and where hidden states and embeddings go."""

import torch

from models.backbone.layout import (
    causal_within,
    frames,
    gather,
    packed_layout,
    parallel_layout,
    scatter,
    units,
    valid_patches,
)


def test_mask_and_positions_follow_the_rules_cell_by_cell() -> None:
    patches, unit = 3, 5
    plan = parallel_layout(patches, unit=unit)
    half, mask_LL = patches * unit, plan.dense()
    for row in range(2 * half):
        for column in range(2 * half):
            if row < half:
                allowed = column <= row and column < half
            elif column < half:
                allowed = column // unit < (row - half) // unit
            else:
                allowed = (column - half) // unit == (row - half) // unit
            assert bool(mask_LL[row, column]) == allowed, (row, column)
    assert plan.position_L.tolist() == [*range(half), *range(half)]


def test_packed_utterances_have_the_layout_they_have_alone_and_see_nothing_of_each_other() -> None:
    patches, unit = [3, 1, 2], 3
    plan = packed_layout(torch.tensor(patches), unit=unit)
    clean_L, seen = sum(patches) * unit, torch.zeros(len(plan.position_L), len(plan.position_L), dtype=torch.bool)
    start = 0
    for number in patches:
        alone = parallel_layout(number, unit=unit)
        own = torch.arange(start, start + number * unit)
        places = torch.cat([own, clean_L + own])
        assert torch.equal(plan.position_L[places], alone.position_L)
        seen[places[:, None], places] = alone.dense()
        start += number * unit
    assert torch.equal(plan.dense(), seen)


def test_block_mask_allows_what_the_dense_mask_allows() -> None:
    plan = packed_layout(torch.tensor([40, 7, 60]), unit=5)
    blocks = plan.block_mask()
    dense = plan.dense()
    every = torch.arange(len(dense))
    assert torch.equal(blocks.mask_mod(0, 0, every[:, None], every[None]), dense)
    assert blocks.sparsity() > 50  # per cent of blocks that are skipped


def test_causal_attention_inside_sequences() -> None:
    position_L, mask_LL = causal_within(torch.tensor([2, 3]))
    assert position_L.tolist() == [0, 1, 0, 1, 2]
    rows = [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 1, 1, 0], [0, 0, 1, 1, 1]]
    assert mask_LL.int().tolist() == rows


def test_units_put_a_hidden_state_before_its_frames_and_frames_takes_it_out() -> None:
    hidden = torch.arange(2.0).view(1, 2, 1) + 100
    frame = torch.arange(8.0).view(1, 8, 1)
    token = units(hidden, frame)
    assert token.flatten().tolist() == [100, 0, 1, 2, 3, 101, 4, 5, 6, 7]
    assert torch.equal(frames(token, unit=5), frame)


def test_gather_then_scatter_gives_back_what_was_marked() -> None:
    source = torch.randn(2, 6, 3)
    at = torch.tensor([[0, 1, 0, 1, 1, 0], [0, 0, 1, 0, 0, 0]]).bool()
    valid = valid_patches(torch.tensor([3, 1]))
    taken = gather(source, at_BL=at, valid_BP=valid)
    assert torch.equal(taken[0], source[0][[1, 3, 4]])
    assert torch.equal(taken[1], torch.stack([source[1, 2], torch.zeros(3), torch.zeros(3)]))
    put = scatter(torch.zeros(2, 6, 3), taken, at_BL=at, valid_BP=valid)
    assert torch.equal(put, source * at[..., None])


def test_pieces_cover_every_row_in_order_and_allow_what_the_dense_mask_allows() -> None:
    patches, unit = [70, 1, 33], 5
    plan = packed_layout(torch.tensor(patches), unit=unit)
    dense, found = plan.dense(), torch.zeros(len(plan.position_L), len(plan.position_L), dtype=torch.bool)
    row, pairs = 0, 0
    for rows, columns, mask in plan.pieces(patches, unit=unit):
        assert rows.start == row
        row = rows.stop
        column = torch.cat([torch.arange(part.start, part.stop) for part in columns])
        own = torch.ones(rows.stop - rows.start, len(column), dtype=torch.bool).tril() if mask is None else mask
        found[rows, column] = own
        pairs += own.numel() if mask is not None else int(own.sum())
    assert row == len(dense)
    assert torch.equal(found, dense)
    assert pairs < dense.numel() / 3
