"""The encoder on a CPU without gradients, piece by piece, says what torch's convolutions say."""

import copy

import pytest
import torch

from models.audiovae import rows
from models.audiovae.encoder import Encoder
from models.audiovae.rows import pieces
from models.audiovae.vae import AudioVAE


@pytest.fixture
def encoder(vae: AudioVAE) -> Encoder:
    return vae.audio_encoder.requires_grad_(False)


def wave(samples: int, *, rows: int = 1) -> torch.Tensor:
    return 0.1 * torch.randn(rows, samples, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("samples", [1, 7, 1920, 7681, 96_001])
@pytest.mark.parametrize("numbers", [rows.PIECE, 1 << 12])
def test_pieces_say_what_whole_convolutions_say(
    encoder: Encoder, samples: int, numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "PIECE", numbers)
    expected = encoder(wave(samples, rows=2))  # with gradients: torch's own convolutions of the whole
    with torch.no_grad():
        found = encoder(wave(samples, rows=2))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("channels", [12, 24, 192, 768])
def test_pieces_cover_a_signal_of_any_length_in_few_lengths(channels: int) -> None:
    sizes, long = set(), 20 * rows.usual_piece(channels)
    for length in [*range(1, 400), *range(long, 2 * long, 97)]:
        cut = list(pieces(length, channels))
        ends = [start + size for start, size in cut]
        assert [start for start, _ in cut] == [0, *ends[:-1]]
        assert length <= ends[-1] <= max(rows.SHORTEST, length + max(length, cut[-1][1]) / 8)
        if length >= long:
            sizes |= {size for _, size in cut}
    assert min(sizes) >= rows.SHORTEST
    assert len(sizes) <= 10


@torch.no_grad()
def test_packed_weights_follow_a_change_and_copies_make_their_own(encoder: Encoder) -> None:
    stem = encoder.stages[0].down
    before = encoder(wave(7680))
    assert stem.packed is not None
    assert copy.deepcopy(stem).packed is None
    stem.weight_g.mul_(2.0)
    changed = encoder(wave(7680))
    stem.weight_g.div_(2.0)
    assert not torch.allclose(changed, before, rtol=1e-2)
    assert torch.equal(encoder(wave(7680)), before)


@torch.no_grad()
def test_weights_that_are_trained_are_not_kept(vae: AudioVAE) -> None:
    vae.requires_grad_(True).audio_encoder(wave(7680))
    assert all(
        layer.packed is None for stage in vae.audio_encoder.stages for layer in (stage.down, *sum(stage.units, ()))
    )
