"""Upsampled recordings are found whatever resampled them, true wideband ones are not, and edges lie where they are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
import soxr

from models.frozen.espeak import Espeak, Utterance
from pipelines.filters import upsampled
from pipelines.hearing.spectrum import bright_frames, mirrored
from pipelines.row import Segment, Wave
from pipelines.transforms import bandwidth
from tests.sounds import RESAMPLERS, clip_of, native, scored, wideband

MEASURE = bandwidth.Transform(bandwidth.Config())


def measured(wave: Any, rate_hz: int) -> Segment:
    return scored(MEASURE, clip_of(np.asarray(wave, dtype=np.float32), rate_hz))


@pytest.fixture(scope="module")
def speech() -> Wave:
    """Synthetic speech at 16 kHz that reaches up to 8 kHz."""
    spoken = Espeak().say(Utterance(text="She sells sea shells; the ferry leaves at six.", voice="en-us+m3"))
    return np.asarray(soxr.resample(spoken, Espeak.RATE_HZ, 16000), dtype=np.float32)


@pytest.mark.parametrize("name", sorted(RESAMPLERS))
def test_speech_that_was_upsampled_is_found_with_its_rate(speech: Wave, name: str) -> None:
    for source_hz, rate_hz in ((16000, 48000), (16000, 44100), (16000, 24000), (8000, 48000), (8000, 16000)):
        source = speech if source_hz == 16000 else np.asarray(soxr.resample(speech, 16000, 8000), dtype=np.float32)
        found = measured(RESAMPLERS[name](source, source_hz, rate_hz), rate_hz)
        assert (found.upsampled, found.upsampled_from_hz) == (True, source_hz), (source_hz, rate_hz)
        assert (found.bandwidth_hz or 0) <= source_hz / 2


def test_speech_at_its_own_rate_is_not_called_upsampled(speech: Wave) -> None:
    assert measured(speech, 16000).upsampled is False
    wide = measured(wideband(speech, seed=1), 48000)
    assert (wide.upsampled, wide.bandwidth_cliff) == (False, False)
    assert (wide.bandwidth_hz or 0) > 14000


@pytest.mark.parametrize("edge_hz", [4000, 5000, 6500, 8000, 10000, 12000, 14000, 16000, 18000, 20000])
def test_the_edge_of_a_low_pass_is_found_within_500_hz(edge_hz: int) -> None:
    white = np.random.default_rng(0).normal(0, 0.1, size=96000)
    filters: dict[str, Callable[[Any], Any]] = {
        "fir": lambda wave: scipy.signal.lfilter(scipy.signal.firwin(801, edge_hz, fs=48000), 1, wave),
        "elliptic": lambda wave: scipy.signal.sosfilt(
            scipy.signal.ellip(10, 0.1, 80, edge_hz, fs=48000, output="sos"), wave
        ),
    }
    for name, low_pass in filters.items():
        found = measured(low_pass(white), 48000)
        assert found.bandwidth_hz == pytest.approx(edge_hz, abs=500), name
        assert found.bandwidth_cliff is True


def test_a_gentle_slope_is_no_cliff() -> None:
    white = np.random.default_rng(0).normal(0, 0.1, size=96000)
    for order in (2, 4, 6):
        sos = scipy.signal.butter(order, 7000, fs=48000, output="sos")
        found = measured(scipy.signal.sosfilt(sos, white), 48000)
        assert (found.bandwidth_cliff, found.upsampled) == (False, False), order


def test_a_whistling_line_and_hum_move_nothing(speech: Wave) -> None:
    wave = np.asarray(soxr.resample(speech, 16000, 48000), dtype=np.float64)
    at = np.arange(len(wave)) / 48000
    plain = measured(wave, 48000)
    whistle = measured(wave + 0.003 * np.sin(2 * np.pi * 15734 * at), 48000)
    hum = measured(wave + 0.5 * np.sin(2 * np.pi * 50 * at), 48000)
    assert whistle.bandwidth_hz == hum.bandwidth_hz == plain.bandwidth_hz


def test_weak_speech_counts_up_to_the_cliff_that_ends_it_and_constant_hiss_does_not(speech: Wave) -> None:
    gaps = wideband(np.concatenate([speech, np.zeros(8000, np.float32)]), seed=1).astype(np.float64)
    dull = scipy.signal.sosfilt(scipy.signal.butter(2, 2500, fs=48000, output="sos"), gaps)
    low_pass = scipy.signal.ellip(10, 0.1, 80, 15000, fs=48000, output="sos")
    found = measured(scipy.signal.sosfilt(low_pass, dull), 48000)
    assert found.bandwidth_hz == pytest.approx(15000, abs=500)
    hiss = np.random.default_rng(0).normal(0, 1e-3 * np.sqrt(np.mean(np.square(dull))), size=len(dull))
    duller = scipy.signal.sosfilt(scipy.signal.butter(4, 2500, fs=48000, output="sos"), gaps)
    found = measured(scipy.signal.sosfilt(low_pass, duller + hiss), 48000)
    assert (found.bandwidth_hz or 0) < 9000
    assert found.bandwidth_cliff is True, "hiss that ends at 15 kHz shows a low-pass, though no speech"


def test_music_and_noise_make_no_mirror_images() -> None:
    from pipelines.synthetic.sounds import music, noise

    random = np.random.default_rng(0)
    for wave in (music(6, rate_hz=48000, random=random), noise(6, rate_hz=48000, random=random)):
        frames = bright_frames(wave, rate_hz=48000)
        assert max(mirrored(frames, rate_hz=48000, sources_hz=(8000, 11025, 16000, 22050, 32000))) < 0.4


def test_filter_lets_high_rates_by_and_refuses_what_nobody_measured(speech: Wave) -> None:
    cfg = upsampled.Config()
    low = measured(soxr.resample(speech, 16000, 48000), 48000)
    assert not upsampled.keep(low, cfg)
    assert upsampled.keep(low, upsampled.Config(from_hz=16000))
    assert upsampled.keep(measured(speech, 16000), cfg)
    assert not upsampled.keep(clip_of(speech, 16000).segment, cfg)


@pytest.mark.shared
def test_real_speech_upsampled_to_48_khz_is_found_and_real_wideband_sound_is_not(shared: Path) -> None:
    audio = shared / "audio"
    paths = sorted((audio / "libri_clean100").glob("*.flac"))[::3] + sorted((audio / "libri_other").glob("*.flac"))[::6]
    for path in paths:
        wave, rate_hz = native(path)
        wave = wave[: 8 * rate_hz]
        assert measured(wave, rate_hz).upsampled is False, path.name
        assert measured(wideband(wave, seed=0), 48000).upsampled is False, path.name
        for name, resample in RESAMPLERS.items():
            found = measured(resample(wave, rate_hz, 48000), 48000)
            assert found.upsampled_from_hz == 16000, (path.name, name)
    for name in ("music/demucs_test.mp3", "en/jfk.flac", "noisy/dfn_clean_freesound_33711.flac"):
        assert measured(*native(audio / name)).upsampled is False, name
    assert (measured(*native(audio / "music/demucs_test.mp3")).bandwidth_hz or 0) > 19000
    assert (measured(*native(audio / "en/jfk.flac")).bandwidth_hz or 0) < 6000, "a recording of 1961"
    assert measured(*native(audio / "conversation/pyannote_sample.flac")).upsampled_from_hz == 8000, "a telephone"
