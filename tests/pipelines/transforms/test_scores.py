"""Transforms that measure: right on sounds whose answer is known; order and length kept; other fields left alone."""

import numpy as np
import pytest

from infra.manifest import names_in, resolve
from models.frozen.espeak import Espeak, Utterance
from pipelines.clip import Clip, Rejected
from pipelines.row import OWNERS, Wave, as_row, score_owner
from pipelines.synthetic.sounds import clipped, joined, mixed, music, narrowed, noise
from pipelines.transforms import bandwidth, caption, loudness, mos, speaker
from tests.sounds import clip_of, scored

RATE_HZ = Espeak.RATE_HZ
TEXTS = (
    "The ferry leaves the harbor at seven, and the gulls follow it.",
    "In winter the road to the village is closed.",
)


@pytest.fixture(scope="module")
def low() -> Wave:
    return Espeak().say(Utterance(text=TEXTS[0], voice="en-us+m3"))


@pytest.fixture(scope="module")
def high() -> Wave:
    return Espeak().say(Utterance(text=TEXTS[1], voice="en-us+steph2", pitch=55))


def test_every_transform_says_what_it_sets_and_sets_nothing_else() -> None:
    for name in names_in("pipelines.transforms"):
        module = resolve("pipelines.transforms", name)
        owned = {field for field, owner in OWNERS.items() if owner == name}
        if hasattr(module, "SETS"):
            assert set(module.SETS) == owned, f"{name} sets {module.SETS}, but the record gives it {owned}"
            assert all(score_owner(score) not in (None, name) for score in module.READS), f"{name} reads {module.READS}"
            assert module.CHANGES_WAVE in (True, False)


def test_scores_come_back_in_order_and_only_owned_fields_change(low: Wave, high: Wave) -> None:
    clips = [clip_of(low, RATE_HZ), clip_of(high, RATE_HZ), clip_of(low[:RATE_HZ], RATE_HZ)]
    for module in (loudness, bandwidth, mos, speaker, caption):
        done = module.Transform(module.Config())(clips)
        for before, after in zip(clips, done, strict=True):
            assert isinstance(after, Clip)
            assert after.segment.key == before.segment.key
            old, new = as_row(before.segment), as_row(after.segment)
            changed = {name for name in old if old[name] != new[name]}
            assert changed, module.__name__
            assert changed <= set(module.SETS), module.__name__
            assert np.array_equal(after.wave_S, before.wave_S)


def test_a_clip_without_a_sample_is_rejected_and_the_rest_goes_on(low: Wave) -> None:
    for module in (loudness, mos, speaker):
        done = module.Transform(module.Config())([clip_of(low[:0], RATE_HZ), clip_of(low, RATE_HZ)])
        assert isinstance(done[0], Rejected)
        assert done[0].reason == "dropped:empty"
        assert isinstance(done[1], Clip)


def test_loudness_of_a_sine_is_what_the_standard_says() -> None:
    sine = np.sin(2 * np.pi * 997 * np.arange(48000 * 3) / 48000).astype(np.float32)
    facts = scored(loudness.Transform(loudness.Config()), clip_of(sine, 48000))
    assert facts.loudness_lufs == pytest.approx(-3.01, abs=0.05), "BS.1770: a full-scale 997 Hz sine in one channel"
    assert facts.peak == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("rate_hz", [8000, 11025, 22050, 44100, 48000])
def test_loudness_is_that_of_pyloudnorm_with_both_gates(rate_hz: int) -> None:
    import pyloudnorm

    random = np.random.default_rng(rate_hz)
    for seconds in (0.45, 0.55, 3.21, 7):
        steps = np.repeat(10 ** random.uniform(-5, -0.5, size=8), int(seconds * rate_hz) // 8)
        wave_S = (random.normal(0, 1, size=len(steps) + 3) * np.pad(steps, (0, 3))).astype(np.float32)
        expected = pyloudnorm.Meter(rate_hz).integrated_loudness(wave_S.astype(np.float64))
        assert loudness.loudness_lufs(wave_S, rate_hz=rate_hz) == pytest.approx(expected, abs=1e-5)


def test_silence_and_very_short_clips_have_no_loudness_and_raise_no_warning() -> None:
    transform = loudness.Transform(loudness.Config())
    silent = scored(transform, clip_of(np.zeros(RATE_HZ, np.float32), RATE_HZ))
    assert (silent.loudness_lufs, silent.snr_db, silent.clipped_ratio) == (None, None, 0.0)
    short = scored(transform, clip_of(np.full(3000, 0.1, np.float32), RATE_HZ))
    assert short.loudness_lufs is None
    padded = np.concatenate([np.zeros(RATE_HZ, np.float32), np.full(RATE_HZ, 0.1, np.float32)])
    assert scored(transform, clip_of(padded, RATE_HZ)).peak == pytest.approx(0.1)


def test_clipping_is_seen_also_after_the_level_was_turned_down(low: Wave) -> None:
    transform = loudness.Transform(loudness.Config())
    clean = scored(transform, clip_of(low, RATE_HZ)).clipped_ratio
    loud = clipped(low, gain=12)
    assert clean is not None
    assert clean < 1e-4
    for wave in (loud, loud * np.float32(0.3)):
        ratio = scored(transform, clip_of(wave, RATE_HZ)).clipped_ratio
        assert ratio is not None
        assert ratio > 0.01


def test_a_constant_that_a_converter_adds_changes_no_score(low: Wave, high: Wave) -> None:
    both = np.float32(0.5) * joined([low, high], gap_seconds=0.5, rate_hz=RATE_HZ)
    for module in (loudness, bandwidth, mos, speaker):
        transform = module.Transform(module.Config())
        clips = [clip_of(both + np.float32(constant), RATE_HZ) for constant in (0.0, 0.05, 0.3)]
        found = [scored(transform, clip) for clip in clips]
        for name in ("snr_db", "bandwidth_hz", "mos_overall", "speaker_cosine_min"):
            if (value := getattr(found[0], name)) is not None:
                assert [getattr(item, name) for item in found] == pytest.approx([value] * 3, rel=0.02), name


def test_snr_falls_as_noise_rises(low: Wave) -> None:
    transform = loudness.Transform(loudness.Config())
    background = noise(len(low) / RATE_HZ + 1, rate_hz=RATE_HZ, random=np.random.default_rng(0))
    found = [scored(transform, clip_of(mixed(low, background, snr_db=db), RATE_HZ)).snr_db for db in (40, 25, 10, 0)]
    assert all(value is not None for value in found)
    assert found == sorted(found, reverse=True)  # type: ignore[type-var]


def test_bandwidth_of_a_telephone_recording_stored_at_48_khz_is_found(low: Wave) -> None:
    transform = bandwidth.Transform(bandwidth.Config())
    wide = scored(transform, clip_of(low, RATE_HZ))
    narrow = scored(transform, clip_of(narrowed(low, rate_hz=RATE_HZ, to_hz=48000), 48000))
    assert wide.bandwidth_hz is not None
    assert wide.bandwidth_hz > 8000
    assert narrow.bandwidth_hz == pytest.approx(3900, abs=200)
    assert narrow.bandwidth_cliff is True


def test_white_noise_is_full_band_without_a_cliff_and_silence_has_no_bandwidth() -> None:
    transform = bandwidth.Transform(bandwidth.Config())
    white = np.random.default_rng(0).normal(0, 0.1, size=96000).astype(np.float32)
    found = scored(transform, clip_of(white, 48000))
    assert (found.bandwidth_hz, found.bandwidth_cliff) == (24000, False)
    silent = scored(transform, clip_of(np.zeros(9600, np.float32), 48000))
    assert (silent.bandwidth_hz, silent.bandwidth_cliff) == (None, None)


def test_a_change_of_voice_is_seen(low: Wave, high: Wave) -> None:
    transform = speaker.Transform(speaker.Config())
    one = scored(transform, clip_of(joined([low, low], gap_seconds=0.1, rate_hz=RATE_HZ), RATE_HZ))
    two = scored(transform, clip_of(joined([low, high], gap_seconds=0.1, rate_hz=RATE_HZ), RATE_HZ))
    assert one.speaker_split_gain is not None
    assert two.speaker_split_gain is not None
    assert one.speaker_split_gain + 0.5 < two.speaker_split_gain
    assert (one.speaker_cosine_mean or 0) > (two.speaker_cosine_mean or 1)
    assert one.xvector is not None
    assert np.linalg.norm(one.xvector) == pytest.approx(1, abs=1e-3)


def test_clips_of_a_recording_are_clustered_by_voice_and_given_speakers_stand(low: Wave, high: Wave) -> None:
    same = {"recording_sha256": "f" * 64}
    half = len(low) // 2
    clips = [
        clip_of(low[:half], RATE_HZ, key="a", **same),
        clip_of(high, RATE_HZ, key="b", **same),
        clip_of(low[half:], RATE_HZ, key="c", **same),
        clip_of(high, RATE_HZ, key="d", given_speaker="ida"),
    ]
    names = [clip.segment.speaker for clip in speaker.Transform(speaker.Config())(clips) if isinstance(clip, Clip)]
    assert names[3] == "ida"
    assert names[0] == names[2] != names[1]
    assert {names[0], names[1]} == {f"{'f' * 12}-0", f"{'f' * 12}-1"}


def test_music_is_no_good_speech() -> None:
    chords = music(6.0, rate_hz=RATE_HZ, random=np.random.default_rng(0)) * np.float32(0.3)
    found = scored(mos.Transform(mos.Config()), clip_of(chords, RATE_HZ))
    assert (found.mos_overall or 5) < 1.5
