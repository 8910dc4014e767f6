"""A small corpus in the real on-disk format: procedural speech, four voices, a few syllables with their text."""

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from models.runtime.latents import LatentEncoder
from pipelines.packing.cutting import plan
from pipelines.packing.finish import finish
from pipelines.packing.members import flac_of, npy_of
from pipelines.packing.writer import write_shard
from pipelines.row import Segment, as_row, segment_key
from tests.pipelines.packable import Item

RATE_HZ = 24_000
VOWELS = {
    "a": (730, 1090, 2440),
    "e": (530, 1840, 2480),
    "i": (270, 2290, 3010),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
}
PITCHES_HZ = (105.0, 140.0, 190.0, 230.0)


def syllable(vowel: str, *, pitch_hz: float, seconds: float = 0.2) -> NDArray[np.float64]:
    """A harmonic tone under three formants, with a soft start and end."""
    time = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    wave = np.zeros_like(time)
    for harmonic in range(1, int(8000 / pitch_hz)):
        hz = harmonic * pitch_hz
        gain = sum(1 / (1 + ((hz - formant) / 90) ** 2) for formant in VOWELS[vowel])
        wave += gain / harmonic**0.5 * np.sin(2 * np.pi * hz * time * (1 + 0.01 * np.sin(8 * time)))
    edge = np.minimum(1, np.minimum(time, time[::-1]) / 0.03)
    return wave * edge


def clip(number: int, *, shortest: int = 4, longest: int = 14) -> tuple[NDArray[np.float32], str, str]:
    """(waveform, text, speaker) of one utterance."""
    random = np.random.default_rng(number)
    voice = number % len(PITCHES_HZ)
    vowels = random.choice(list(VOWELS), size=random.integers(shortest, longest + 1))
    wave = np.concatenate([syllable(v, pitch_hz=PITCHES_HZ[voice]) for v in vowels] + [np.zeros(RATE_HZ // 10)])
    wave = 0.3 * wave / np.abs(wave).max() + 0.001 * random.standard_normal(len(wave))
    return wave.astype(np.float32), " ".join(f"m{v}" for v in vowels), f"voice{voice}"


def build_corpus(
    root: Path, *, samples: int = 24, untexted: int = 2, longest: int = 14, encoder: LatentEncoder | None = None
) -> Path:
    """Write the corpus into `root`; the last `untexted` samples have no text, every second one
    has a caption. With an encoder, its latents, too."""
    items = []
    spool = root.parent / f"{root.name}.spool"
    spool.mkdir(parents=True)
    for number in range(samples):
        wave_S, text, speaker = clip(number, longest=longest)
        sha = hashlib.sha256(wave_S.tobytes()).hexdigest()
        known = number < samples - untexted
        segment = Segment(
            key=segment_key(sha, start_sample=0, end_sample=len(wave_S)),
            corpus="mini",
            recording=f"{number}.wav",
            recording_sha256=sha,
            license="CC0-1.0",
            source="made by the test",
            start_sample=0,
            end_sample=len(wave_S),
            rate_hz=RATE_HZ,
            channels=1,
            seconds=len(wave_S) / RATE_HZ,
            text=text if known else None,
            text_by="given" if known else "untranscribed",
            text_tts=text if known else None,
            language="zh" if number % 5 == 0 else "en",
            speaker=speaker,
            mos_overall=2.0 + number % 3,
            caption=f"{speaker} sings vowels" if number % 2 else None,
        )
        flac = flac_of(wave_S, rate_hz=RATE_HZ)
        stored = b""
        if encoder is not None:
            read_S = soundfile.read(io.BytesIO(flac), dtype="float32")[0]
            latent_2FD = encoder(soxr.resample(read_S, RATE_HZ, encoder.rate_hz))
            stored = npy_of(latent_2FD)
            segment = replace(segment, latents_by=encoder.digest, latent_frames=latent_2FD.shape[1])
        (spool / f"{number}.flac").write_bytes(flac + stored)
        tier = "gold" if number % 2 else "silver"
        arrays = {"latent": (len(flac), len(stored))} if stored else {}
        file = spool / f"{number}.flac"
        items.append(Item(as_row(segment), tier, file, 0, len(flac), arrays))
    parts = plan(items, soft_bytes=400_000)
    shards = [write_shard(root, number, part, members=("latent",)) for number, part in enumerate(parts)]
    finish(root, name="mini", shards=shards, facts={})
    return root


if __name__ == "__main__":
    import sys

    build_corpus(Path(sys.argv[1]), samples=int(sys.argv[2]))
