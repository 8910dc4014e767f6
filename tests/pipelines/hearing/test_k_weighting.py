"""The K-weighting in blocks is the recursive filter that pyloudnorm designs, sample by sample."""

import numpy as np
import pytest

from pipelines.hearing.k_weighting import BLOCK, biquads, k_weighted


@pytest.mark.parametrize("rate_hz", [4000, 16000, 44100, 48000, 384000])
def test_in_blocks_it_gives_what_the_recursion_gives_also_far_from_the_start_and_with_an_offset(rate_hz: int) -> None:
    from scipy.signal import sosfilt

    sections = np.array([[*above, *below] for above, below in biquads(rate_hz)])
    sections /= sections[:, 3:4]
    random = np.random.default_rng(rate_hz)
    for count in (1, BLOCK - 1, BLOCK, BLOCK + 1, 4 * rate_hz + 7):
        wave_S = (0.5 + 0.1 * random.normal(0, 1, size=count)).astype(np.float32)
        wave_S[count // 2 :] *= np.float32(1e-3)
        expected_S = sosfilt(sections, wave_S.astype(np.float64))
        assert np.abs(k_weighted(wave_S, rate_hz=rate_hz) - expected_S).max() < 5e-6, (rate_hz, count)


@pytest.mark.parametrize("rate_hz", [8000, 22050, 44100, 48000, 96000])
def test_the_filters_are_those_of_pyloudnorm(rate_hz: int) -> None:
    from pyloudnorm import IIRfilter

    designed = [
        IIRfilter(4.0, 1 / np.sqrt(2), 1500.0, rate_hz, "high_shelf"),
        IIRfilter(0.0, 0.5, 38.0, rate_hz, "high_pass"),
    ]
    for (above, below), stage in zip(biquads(rate_hz), designed, strict=True):
        assert np.allclose(above / below[0], stage.b, rtol=1e-12, atol=0)
        assert np.allclose(below / below[0], stage.a, rtol=1e-12, atol=0)
