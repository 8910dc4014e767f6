"""Only clips below the gate are enhanced, what is enhanced is better by a reference, and nothing else is touched."""

from pathlib import Path

import numpy as np
import pytest

from infra.manifest import ManifestError, parse
from models.frozen import WeightsError
from models.frozen.espeak import Espeak, Utterance
from pipelines.clip import Clip
from pipelines.row import Wave
from pipelines.synthetic.sounds import mixed, noise
from pipelines.transforms import enhance, mos
from tests.sounds import by_soxr, clip_of, native, scored, wideband

RATE_HZ = Espeak.RATE_HZ


class Halve:
    """An enhancer of 16 kHz that makes things quieter: for the decisions around a real one."""

    RATE_HZ = 16000
    fingerprint = "halve"

    def __init__(self) -> None:
        self.heard = 0

    def __call__(self, waves: list[Wave]) -> list[Wave]:
        self.heard += len(waves)
        return [wave * np.float32(0.5) for wave in waves]


@pytest.fixture(scope="module")
def speech() -> Wave:
    return Espeak().say(Utterance(text="The ferry leaves the harbor at seven, and gulls follow it.", voice="en-us+m3"))


@pytest.fixture(scope="module")
def noisy(speech: Wave) -> Wave:
    background = noise(len(speech) / RATE_HZ + 1, rate_hz=RATE_HZ, random=np.random.default_rng(0))
    return mixed(speech, background, snr_db=3)


def test_only_noisy_clips_are_enhanced_and_said_to_be(speech: Wave, noisy: Wave) -> None:
    transform = enhance.Transform(enhance.Config())
    clean_clip, noisy_clip = clip_of(speech, RATE_HZ), clip_of(noisy, RATE_HZ)
    clean, better = transform([clean_clip, noisy_clip])
    assert isinstance(clean, Clip)
    assert isinstance(better, Clip)
    assert clean.segment.enhanced == "no"
    assert clean.wave_S is clean_clip.wave_S
    assert better.segment.enhanced == "rnnoise-0.8"
    assert len(better.wave_S) == len(noisy)
    fresh = clip_of(better.wave_S, RATE_HZ)
    assert np.array_equal(better.at(16000), fresh.at(16000)), "views of the noisy waveform would be wrong"
    measure = mos.Transform(mos.Config())
    assert better.segment.enhancement_before == scored(measure, noisy_clip).mos_overall
    assert better.segment.enhancement_after == scored(measure, better).mos_overall
    assert (better.segment.enhancement_after or 0) > (better.segment.enhancement_before or 5) + 0.1


def test_a_share_of_the_clip_as_it_was_stays_in(noisy: Wave) -> None:
    wet, half = (enhance.Transform(enhance.Config(wet=share))([clip_of(noisy, RATE_HZ)])[0] for share in (1.0, 0.5))
    assert isinstance(wet, Clip)
    assert isinstance(half, Clip)
    np.testing.assert_allclose(half.wave_S, (wet.wave_S + noisy) / 2, atol=1e-5)


def test_the_original_stays_where_too_little_is_gained_and_both_opinions_are_kept(noisy: Wave) -> None:
    transform = enhance.Transform(enhance.Config())
    transform.enhancer = Halve()
    clip = clip_of(by_soxr(noisy, RATE_HZ, 16000), 16000)
    done = transform([clip])[0]
    assert isinstance(done, Clip)
    assert done.segment.enhanced == "no"
    assert done.wave_S is clip.wave_S
    assert done.segment.enhancement_after == pytest.approx(done.segment.enhancement_before, abs=0.05)


def test_a_backend_of_16_khz_is_not_asked_about_wider_clips(speech: Wave) -> None:
    transform = enhance.Transform(enhance.Config())
    transform.enhancer = narrow = Halve()
    wide = wideband(by_soxr(speech, RATE_HZ, 16000), seed=0)
    background = noise(len(wide) / 48000 + 1, rate_hz=48000, random=np.random.default_rng(0))
    done = transform([clip_of(mixed(wide, background, snr_db=3), 48000)])[0]
    assert isinstance(done, Clip)
    assert (done.segment.enhanced, done.segment.enhancement_after) == ("no", None)
    assert narrow.heard == 0


def test_manifests_that_cannot_work_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"models/frozen/silero\.py enhances no speech"):
        parse(enhance.Config, {"backend": "silero"}, where="x")
    with pytest.raises(WeightsError, match="rnnoise carries its weights"):
        enhance.Transform(enhance.Config(checkpoint=tmp_path / "x"))
    with pytest.raises(WeightsError, match="no SpeechBrain folder at"):
        enhance.Transform(enhance.Config(backend="speechbrain_enhance", checkpoint=tmp_path / "x"))


@pytest.mark.shared
def test_real_noisy_speech_is_more_intelligible_after_it_and_clean_speech_stays(shared: Path) -> None:
    from pystoi import stoi

    transform = enhance.Transform(enhance.Config())
    gained = []
    for name in ("vb_p287_002", "vb_p287_006"):
        clean, rate_hz = native(shared / "audio" / "noisy" / f"{name}_clean.flac")
        clip = clip_of(native(shared / "audio" / "noisy" / f"{name}_noisy.flac")[0], rate_hz)
        done = transform([clip])[0]
        assert isinstance(done, Clip)
        assert done.segment.enhanced == "rnnoise-0.8", name
        gained.append(stoi(clean, done.wave_S, rate_hz) - stoi(clean, clip.wave_S, rate_hz))
        assert scored(transform, clip_of(clean, rate_hz)).enhanced == "no", name
    for folder in ("noise", "music"):
        background = by_soxr(*native(next(iter(sorted((shared / "audio" / folder).iterdir())))), 16000)
        for path in sorted((shared / "audio" / "libri_clean100").glob("*.flac"))[::12]:
            clean = native(path)[0][:96000]
            clip = clip_of(mixed(clean, np.resize(background, len(clean)), snr_db=4), 16000)
            done = transform([clip])[0]
            assert isinstance(done, Clip)
            gained.append(stoi(clean, done.wave_S, 16000) - stoi(clean, clip.wave_S, 16000))
    assert min(gained) > -0.005, gained
    assert np.mean(gained) > 0.015, gained
