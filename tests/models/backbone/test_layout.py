"""The [C|Z] layout: who may look at whom, and where hidden states and embeddings go."""

import torch

from models.backbone.layout import frames, gather, parallel_layout, scatter, units, valid_patches


def test_mask_and_positions_follow_the_rules_cell_by_cell() -> None:
    patches, unit = 3, 5
    plan = parallel_layout(patches, unit=unit)
    half = patches * unit
    for row in range(2 * half):
        for column in range(2 * half):
            if row < half:
                allowed = column <= row and column < half
            elif column < half:
                allowed = column // unit < (row - half) // unit
            else:
                allowed = (column - half) // unit == (row - half) // unit
            assert bool(plan.mask_LL[row, column]) == allowed, (row, column)
    assert plan.position_L.tolist() == [*range(half), *range(half)]


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
