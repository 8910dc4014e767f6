"""Pyannote's segmentation: its filters, its layout of tensors, and what the released weights hear."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from models.frozen import WeightsError
from models.frozen.pyannet import PyanNet, SincFilters
from models.frozen.pyannote import CHUNK, CLASSES, FIELD, FRAMES, STEP, Segmentation

NOISE = np.random.default_rng(0).normal(0, 0.1, size=3 * CHUNK // 2).astype(np.float32)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights under the released names, as `torch.save` of a state dict inside other keys."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("segmentation") / "tiny.pt"
    fixed = {"sincnet.conv1d.0.filterbank.window_": torch.zeros(125)}
    torch.save({"format_version": 1, "state_dict": {**PyanNet(classes=7).state_dict(), **fixed}}, path)
    return path


@torch.no_grad()
def test_a_sinc_filter_passes_its_band_and_nothing_else() -> None:
    filters = SincFilters()
    filters.low_hz_.fill_(950)
    filters.band_hz_.fill_(450)
    response = torch.fft.rfft(filters.filters()[:, 0], n=4096).abs()
    hz = torch.arange(2049) * 16000 / 4096
    for kernel in (0, 40):
        inside, outside = response[kernel][(hz > 1100) & (hz < 1400)], response[kernel][(hz < 850) | (hz > 1650)]
        assert inside.min() > 20 * outside.max()
    even, odd = filters.filters()[0, 0], filters.filters()[40, 0]
    torch.testing.assert_close(even, even.flip(0))
    torch.testing.assert_close(odd, -odd.flip(0))


def test_frames_are_where_they_are_said_to_be() -> None:
    assert FRAMES == 1 + (CHUNK - FIELD) // STEP
    with torch.no_grad():
        assert PyanNet(classes=7)(torch.zeros(1, CHUNK)).shape == (1, FRAMES, len(CLASSES))


def test_chunks_cover_each_waveform_alone(tiny: Path) -> None:
    model = Segmentation(tiny)
    there, back = model([NOISE, NOISE[:5000]], hop=CHUNK // 2), model([NOISE[:5000], NOISE], hop=CHUNK // 2)
    assert [len(item) for item in there] == [2, 1]
    for one, other in zip(there, back[::-1], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    np.testing.assert_allclose(there[0].sum(axis=2), 1, atol=1e-4)


def test_a_missing_tensor_is_named_and_so_is_a_missing_file(tiny: Path, tmp_path: Path) -> None:
    stored = torch.load(tiny, weights_only=True)
    del stored["state_dict"]["linear.1.bias"]
    torch.save(stored, tmp_path / "lost.pt")
    with pytest.raises(WeightsError, match=r"it lacks linear\.1\.bias; name a file with the tensors of pyannote"):
        Segmentation(tmp_path / "lost.pt")([NOISE[:1000]])
    with pytest.raises(WeightsError, match="no segmentation checkpoint at"):
        Segmentation(tmp_path / "none.pt")
    assert Segmentation(tiny).fingerprint != Segmentation().fingerprint


@pytest.mark.shared
def test_released_weights_hear_the_speech_of_a_conversation(shared: Path) -> None:
    from tests.pipelines.joined_voices import rttm

    audio = shared / "audio"
    wave, _ = soundfile.read(audio / "conversation" / "pyannote_sample.flac", dtype="float32")
    truth = rttm(audio / "labels" / "pyannote_sample.rttm")["sample"]
    chunks = Segmentation().chunks(wave, hop=CHUNK)
    found = 1 - chunks[:, :, 0].reshape(-1)
    seconds = np.concatenate([10 * chunk + (np.arange(FRAMES) * STEP + FIELD / 2) / 16000 for chunk in range(3)])
    speaks = np.any([(seconds >= turn.start_seconds) & (seconds < turn.end_seconds) for turn in truth], axis=0)
    assert ((found > 0.5) == speaks).mean() > 0.95
