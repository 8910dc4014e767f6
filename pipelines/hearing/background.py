"""What sounds beside the speech: shares of a clip in which there is music, singing, or other loud background.

Music and singing are heard by FireRedVAD's event detector. Noise is measured: in each band the least power within 1.6 s
is background that lies beneath the speech (minimum statistics, Martin 2001), and frames in which nobody speaks are
background as they are; both are compared with the level of the speech. A frame with music in it is not noise too.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.frozen import Wave, at_level
from models.frozen.firered import CLASSES, LEVEL_DBFS, FireRed
from models.frozen.silero import FRAME as VAD_FRAME
from models.frozen.silero import Silero

RATE_HZ = 16000
SIZE, HOP = 512, 256
BANDS = 20
LOWEST_HZ = 80.0
MINIMUM_FRAMES = 100
"""1.6 s: longer than a band stays loud in speech."""
MINIMUM_BIAS = 1.5
"""How far the mean power of stationary noise lies above the minimum of its smoothed power."""
SMOOTH_FRAMES, PAUSE_FRAMES = 5, 7
SPEECH, PAUSE = 0.5, 0.1
"""Probabilities of speech above which a frame is speech, and below which it is a pause."""
MIN_SPEECH_SHARE = 0.02
"""With less speech than this, all that sounds is background, however quiet."""
SILENCE_DB = -60.0
"""Where nobody speaks, frames quieter than this at the common level are silence."""

Power = NDArray[np.float64]


@dataclass(frozen=True)
class Background:
    """Shares of the frames, 0 to 1."""

    music: float
    singing: float
    noise: float


class Listener:
    """Both networks, loaded on the first call; not to be shared between threads."""

    def __init__(self, *, event: float, margin_db: float) -> None:
        """`event`: probability from which music is heard; `margin_db`: speech less this is the level of loud noise."""
        self.event, self.margin_db = event, margin_db
        self.vad, self.events = Silero(), FireRed()

    @property
    def fingerprints(self) -> list[str]:
        """Of the networks."""
        return [self.vad.fingerprint, self.events.fingerprint]

    def __call__(self, wave_S: Wave) -> Background:
        """Of one clip (16 kHz); all zero for one shorter than 35 ms."""
        heard_FC = self.events.probabilities(wave_S) >= self.event
        if not len(heard_FC):
            return Background(0.0, 0.0, 0.0)
        noisy_F = self.noisy(wave_S)
        music_F = heard_FC[:, CLASSES.index("music")]
        at = np.minimum(np.arange(len(noisy_F)) * HOP // 160, len(music_F) - 1)
        noise = float((noisy_F & ~music_F[at]).mean())
        singing = float(heard_FC[:, CLASSES.index("singing")].mean())
        return Background(music=float(music_F.mean()), singing=singing, noise=noise)

    def noisy(self, wave_S: Wave) -> NDArray[np.bool_]:
        """Frames of 16 ms in which the background is loud."""
        wave_S = at_level(wave_S, dbfs=LEVEL_DBFS)
        power_FB = band_power(wave_S)
        frame_F = power_FB.sum(axis=1)
        speech_P = self.vad.probabilities(wave_S)
        at = np.minimum((np.arange(len(power_FB)) * HOP + HOP) // VAD_FRAME, len(speech_P) - 1)
        speech_F = speech_P[at]
        talking = speech_F >= SPEECH
        if talking.mean() < MIN_SPEECH_SHARE:
            sounding: NDArray[np.bool_] = frame_F > 10 ** (SILENCE_DB / 10)
            return sounding
        beneath_F = floor(power_FB)
        level = max(float(frame_F[talking].mean() - beneath_F[talking].mean()), 1e-12)
        own_F = np.maximum(smoothed(frame_F, PAUSE_FRAMES), beneath_F)
        background_F = np.where(speech_F < PAUSE, own_F, beneath_F)
        loud: NDArray[np.bool_] = background_F > level * 10 ** (-self.margin_db / 10)
        return loud


def band_power(wave_S: Wave) -> Power:
    """Mean square in each of 20 bands, equally wide in mel from 80 Hz to 8 kHz, each 16 ms."""
    if not wave_S.size:
        return np.zeros((0, BANDS))
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(wave_S, (0, SIZE)), SIZE)[::HOP]
    window = np.hanning(SIZE)
    power = np.square(np.abs(np.fft.rfft(frames * window, axis=1))) * (2 / (SIZE * np.square(window).sum()))
    mel = 2595 * np.log10(1 + np.fft.rfftfreq(SIZE, 1 / RATE_HZ) / 700)
    edges = np.linspace(2595 * np.log10(1 + LOWEST_HZ / 700), mel[-1] + 1e-6, BANDS + 1)
    band = np.searchsorted(edges, mel, side="right") - 1
    return np.stack([power[:, band == number].sum(axis=1) for number in range(BANDS)], axis=1)


def floor(power_FB: Power) -> Power:
    """Power of the background beneath each frame: band minima within 1.6 s, summed over the bands."""
    from scipy.ndimage import minimum_filter1d

    least = minimum_filter1d(smoothed(power_FB, SMOOTH_FRAMES), MINIMUM_FRAMES, axis=0, mode="nearest")
    return np.asarray(MINIMUM_BIAS * least.sum(axis=1))


def smoothed(power_F: Power, frames: int) -> Power:
    """Mean of so many frames about each."""
    from scipy.ndimage import uniform_filter1d

    return np.asarray(uniform_filter1d(power_F, frames, axis=0, mode="nearest"))
