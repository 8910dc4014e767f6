"""What the frozen front end of the backbone's objectives hears of a batch."""

import pytest
import torch
from torch import Tensor

from tests.small import CONFIG, small_bundle
from training.data.draw import Draw
from training.data.prepared import Frontend
from training.objectives import Batch


@pytest.mark.parametrize("rate_hz", [16000, 24000, 48000])
def test_a_voice_is_heard_from_anywhere_in_a_long_recording(rate_hz: int, monkeypatch: pytest.MonkeyPatch) -> None:
    vocoder = {**CONFIG["vocoder"], "sample_rate": rate_hz}
    frontend = Frontend(small_bundle(vocoder=vocoder, xvec_max_audio_seconds=0.5))
    starts = []

    def embed(wave_BS: Tensor, *, crop_start_B: Tensor, max_seconds: float) -> Tensor:
        assert max_seconds == 0.5
        starts.append(int(crop_start_B))
        return torch.zeros(len(wave_BS), 512)

    monkeypatch.setattr(frontend.speaker, "embed", embed)
    samples = 2 * rate_hz
    batch = Batch(
        keys=["a"],
        wave_BS=torch.zeros(1, samples),
        length_B=torch.tensor([samples]),
        texts=["one"],
        languages=[None],
        speakers=[None],
    )
    for step in range(100):
        frontend.xvectors(batch, Draw(seed=0, step=step, keys=["a"]))
    last = samples - rate_hz // 2
    assert min(starts) < 0.1 * last
    assert 0.9 * last < max(starts) <= last
