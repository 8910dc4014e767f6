"""Edges and rates of prompt audio."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models.audiovae.resample import loud_interval, prompt_wave, resample_kaiser


@pytest.mark.shared
@pytest.mark.parametrize("name", ["prompt", "ref"])
def test_prompts_are_trimmed_and_resampled_as_officially(shared: Path, name: str) -> None:
    import soundfile

    folder = shared / "parity" / "fixtures"
    recorded = load_file(folder / "resample_fbank.safetensors")
    wave_S, rate_hz = soundfile.read(folder / f"{name}.wav", dtype="float32")
    start, end = loud_interval(wave_S)
    assert [start, end, rate_hz] == recorded[f"{name}.trim_index"].tolist()
    found = resample_kaiser(torch.from_numpy(wave_S[start:end]), rate_hz, 48000)
    torch.testing.assert_close(found, recorded[f"{name}.48k"][0], atol=1e-5, rtol=0)
    padded = prompt_wave(wave_S, rate_hz)
    assert len(padded) % 7680 == 0
    torch.testing.assert_close(padded[: len(found)], found)


@pytest.mark.shared
def test_down_to_16_khz_as_officially(shared: Path) -> None:
    recorded = load_file(shared / "parity" / "fixtures" / "resample_fbank.safetensors")
    found = resample_kaiser(recorded["a48k"], 48000, 16000)
    torch.testing.assert_close(found, recorded["a16k_hq"], atol=1e-5, rtol=0)


def test_silence_around_speech_is_trimmed() -> None:
    tone = np.sin(np.arange(24000) / 10).astype(np.float32)
    wave_S = np.concatenate([np.zeros(16000, np.float32), tone, np.zeros(16000, np.float32)])
    start, end = loud_interval(wave_S)
    assert 14000 < start <= 16000
    assert 40000 <= end < 42000


@pytest.mark.parametrize("wave_S", [np.zeros(9000, np.float32), np.zeros(0, np.float32)])
def test_a_silent_prompt_is_refused_in_a_sentence(wave_S: "np.ndarray[tuple[int], np.dtype[np.float32]]") -> None:
    with pytest.raises(ValueError, match="silent"):
        prompt_wave(wave_S, 48000)
