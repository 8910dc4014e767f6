"""Sounds, pictures and numbers made for a page are what they claim."""

import io

import av
import numpy as np
import pytest
from PIL import Image

from pipelines.audit.bins import Binned
from pipelines.audit.pictures import histogram, opus, short, spectrogram
from pipelines.audit.scores import Limit
from tests.pipelines.audit.corpora import tone


@pytest.mark.parametrize("rate_hz", [8000, 22050, 44100, 48000, 96000])
def test_opus_keeps_length_level_and_pitch_and_is_the_same_every_time(rate_hz: int) -> None:
    wave = tone(2, rate_hz=rate_hz)
    data = opus(wave, rate_hz=rate_hz, bits_per_second=24_000)
    assert data == opus(wave, rate_hz=rate_hz, bits_per_second=24_000)
    assert len(data) < 12_000
    with av.open(io.BytesIO(data)) as file:
        assert float(file.duration) / av.time_base == pytest.approx(2, abs=0.05)
        heard = np.concatenate([frame.to_ndarray() for frame in file.decode(audio=0)], axis=1)[0]
        heard_hz = file.streams.audio[0].rate
    assert len(heard) / heard_hz == pytest.approx(2, abs=0.05)
    assert np.abs(heard).max() == pytest.approx(0.3, abs=0.06)
    spectrum = np.abs(np.fft.rfft(heard))
    assert np.argmax(spectrum) * heard_hz / len(heard) == pytest.approx(440, abs=2)


def test_a_spectrogram_is_bright_where_the_sound_is() -> None:
    with Image.open(io.BytesIO(spectrogram(tone(1), rate_hz=16000, width=100, height=72))) as image:
        assert (image.format, image.size) == ("WEBP", (100, 72))
        bright = np.asarray(image.convert("L"), dtype=float)
    row = 71 - int(440 / 8000 * 72)
    assert abs(int(bright.mean(axis=1).argmax()) - row) <= 1
    assert bright[:40].mean() < 0.3 * bright[row].mean()


def test_a_sound_shorter_than_a_frame_or_silent_has_a_picture() -> None:
    for wave in (np.zeros(10, np.float32), np.zeros(0, np.float32), np.zeros(16000, np.float32)):
        assert spectrogram(wave, rate_hz=16000).startswith(b"RIFF")


def test_a_histogram_draws_every_part_and_marks_what_is_near() -> None:
    edges, none = np.array([0.0, 1.0, 2.0, 4.0]), np.zeros(3)
    near, far = Limit("mos", "m", "min", 2.0, "keep"), Limit("mos", "m", "min", 99.0, "gold")
    drawn = histogram(Binned("m", edges, np.array([0.0, 2.0, 2.0]), np.array([1.0, 0, 0]), none, 0.0, (near, far)))
    assert drawn.count('class="kept"') == 2
    assert drawn.count('class="alone"') == 1
    assert ">2</text>" in drawn
    assert "gold" not in drawn


@pytest.mark.parametrize(
    ("value", "said"),
    [(12345.0, "12.3k"), (7500.0, "7500"), (12.34, "12.3"), (0.084, "0.084"), (-0.5, "-0.50"), (0.0, "0.00"),
     (0.00012, "0.00012")],
)  # fmt: skip
def test_numbers_are_short(value: float, said: str) -> None:
    assert short(value) == said
