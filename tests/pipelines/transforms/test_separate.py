"""Music and noise are heard and clean speech is let by; what is over the gate is separated, passed or dropped."""

from pathlib import Path

import numpy as np
import pytest

from infra.manifest import ManifestError, parse
from models.frozen import WeightsError
from models.frozen.espeak import Espeak, Utterance
from pipelines.clip import Clip, Rejected
from pipelines.filters import music as music_filter
from pipelines.filters import noise as noise_filter
from pipelines.hearing.background import Listener
from pipelines.row import Wave
from pipelines.synthetic.sounds import joined, mixed, music, noise
from pipelines.transforms import separate
from tests.sounds import clip_of, native, scored

RATE_HZ = Espeak.RATE_HZ


class Subtract:
    """A separator that knows what to take away: for the decisions around a real one."""

    RATE_HZ = 44100
    fingerprint = "subtract"

    def __init__(self, clean: Wave) -> None:
        self.clean = clean

    def __call__(self, waves: list[Wave]) -> list[Wave]:
        return [clip_of(self.clean, RATE_HZ).at(self.RATE_HZ) for _ in waves]


@pytest.fixture(scope="module")
def speech() -> Wave:
    texts = ("The ferry leaves the harbor at seven, and the gulls follow it.", "In winter the road is closed.")
    spoken = [Espeak().say(Utterance(text=text, voice="en-us+m3")) for text in texts]
    return joined(spoken, gap_seconds=0.4, rate_hz=RATE_HZ)


@pytest.fixture(scope="module")
def over_music(speech: Wave) -> Wave:
    chords = music(len(speech) / RATE_HZ + 1, rate_hz=RATE_HZ, random=np.random.default_rng(0))
    return mixed(speech, chords, snr_db=5)


def test_speech_passes_the_gate_as_it_is_and_music_under_it_is_heard(speech: Wave, over_music: Wave) -> None:
    transform = separate.Transform(separate.Config())
    clip = clip_of(speech, RATE_HZ)
    clean, loud = transform([clip, clip_of(over_music, RATE_HZ)])
    assert isinstance(clean, Clip)
    assert isinstance(loud, Clip)
    assert clean.wave_S is clip.wave_S
    assert (clean.segment.separated, loud.segment.separated) == ("no", "passed")
    assert (clean.segment.music_ratio or 0) < 0.05
    assert (loud.segment.music_ratio or 0) > 0.9
    assert (clean.segment.noise_ratio or 0) < 0.1
    assert music_filter.keep(clean.segment, music_filter.Config())
    assert not music_filter.keep(loud.segment, music_filter.Config())


def test_noise_counts_by_its_level_below_the_speech(speech: Wave) -> None:
    transform = separate.Transform(separate.Config())
    background = noise(len(speech) / RATE_HZ + 1, rate_hz=RATE_HZ, random=np.random.default_rng(0))
    found = [
        scored(transform, clip_of(mixed(speech, background, snr_db=db), RATE_HZ)).noise_ratio for db in (30, 20, 8, 0)
    ]
    assert max(found[:2], key=lambda share: share or 0) < 0.3, found  # type: ignore[operator]
    assert min(found[2:], key=lambda share: share or 0) > 0.9, found  # type: ignore[operator]
    alone = scored(transform, clip_of(background, RATE_HZ))
    assert (alone.noise_ratio or 0) + (alone.music_ratio or 0) > 0.9
    assert not noise_filter.keep(alone, noise_filter.Config())


def test_gain_and_silence_make_no_noise(speech: Wave) -> None:
    listener = Listener(event=0.5, margin_db=15)
    at_16k = clip_of(speech, RATE_HZ).at(16000)
    loud, quiet = listener(at_16k), listener(at_16k * np.float32(0.05))
    assert abs(loud.noise - quiet.noise) < 0.02
    hum = np.random.default_rng(0).normal(0, 1e-4, size=32000).astype(np.float32)
    assert listener(hum).noise > 0.95, "nobody speaks in it, however quiet it is"
    silent = listener(np.zeros(16000, np.float32))
    assert (silent.music, silent.singing, silent.noise) == (0, 0, 0)
    assert listener(at_16k[:100]).noise == 0, "too short to hear anything"


def test_a_clip_over_the_gate_is_dropped_where_the_manifest_says_so(speech: Wave, over_music: Wave) -> None:
    transform = separate.Transform(separate.Config(otherwise="drop"))
    kept, dropped = transform([clip_of(speech, RATE_HZ), clip_of(over_music, RATE_HZ)])
    assert isinstance(kept, Clip)
    assert isinstance(dropped, Rejected)
    assert dropped.reason.startswith("dropped:music: in ")
    assert (dropped.segment.music_ratio or 0) > 0.9


def test_a_voice_that_sounds_better_replaces_the_clip_at_its_own_rate_and_length(
    speech: Wave, over_music: Wave
) -> None:
    transform = separate.Transform(separate.Config())
    transform.separator = Subtract(speech)
    transform.cfg = separate.Config(backend="demucs")
    done = transform([clip_of(over_music, RATE_HZ), clip_of(speech, RATE_HZ)])
    assert all(isinstance(item, Clip) for item in done)
    voice, clean = (item for item in done if isinstance(item, Clip))
    assert voice.segment.separated == "demucs"
    assert len(voice.wave_S) == len(over_music)
    assert (voice.segment.separation_gain or 0) > 0.1
    assert 0.05 < (voice.segment.separation_residual or 0) < 0.6
    assert np.abs(voice.wave_S - speech).max() < 0.05
    assert voice.at(16000) is not over_music
    assert music_filter.keep(voice.segment, music_filter.Config())
    assert clean.segment.separated == "no", "the clean clip is not heard by the separator"
    assert clean.segment.separation_gain is None


def test_the_original_stays_where_nothing_is_gained_or_the_bandwidth_falls(speech: Wave, over_music: Wave) -> None:
    transform = separate.Transform(separate.Config())
    transform.cfg = separate.Config(backend="demucs")
    import soxr

    dull = soxr.resample(soxr.resample(speech, RATE_HZ, 5000), 5000, RATE_HZ).astype(np.float32)
    for useless in (over_music, np.pad(dull, (0, 10))[: len(speech)]):
        transform.separator = Subtract(useless)
        clip = clip_of(over_music, RATE_HZ)
        done = transform([clip])[0]
        assert isinstance(done, Clip)
        assert done.segment.separated == "passed"
        assert done.wave_S is clip.wave_S
        assert done.segment.separation_gain is not None


def test_manifests_that_cannot_work_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"models/frozen/silero\.py separates no voice"):
        parse(separate.Config, {"backend": "silero"}, where="x")
    with pytest.raises(ManifestError, match="a checkpoint needs a backend"):
        parse(separate.Config, {"checkpoint": "x.safetensors"}, where="x")
    with pytest.raises(WeightsError, match="no Demucs checkpoint at"):
        separate.Transform(separate.Config(backend="demucs", checkpoint=tmp_path / "none.safetensors"))


@pytest.mark.shared
def test_real_noise_and_music_are_gated_and_real_close_talk_speech_is_not(shared: Path) -> None:
    transform = separate.Transform(separate.Config())
    audio = shared / "audio"
    clean = [*(audio / "libri_clean100").glob("*.flac"), *(audio / "libri_other").glob("*.flac")]
    clean += [*(audio / "en").glob("*.flac"), *(audio / "zh").glob("*.flac"), *(audio / "noisy").glob("*clean*")]
    for path in clean:
        assert scored(transform, clip_of(*native(path))).separated == "no", path.name
    for path in [*(audio / "noise").glob("*.flac"), *(audio / "music").glob("*.mp3")]:
        assert scored(transform, clip_of(*native(path))).separated == "passed", path.name


@pytest.mark.shared
def test_a_real_song_under_real_speech_is_heard_down_to_15_db(shared: Path) -> None:
    transform = separate.Transform(separate.Config())
    song = clip_of(*native(shared / "audio" / "music" / "demucs_test.mp3")).at(16000)
    for path in sorted((shared / "audio" / "libri_clean100").glob("*.flac"))[::7]:
        speech, _ = native(path)
        for db in (0, 8, 15):
            wave = mixed(speech, np.resize(song, len(speech)), snr_db=db)
            assert (scored(transform, clip_of(wave, 16000)).music_ratio or 0) > 0.6, (path.name, db)
