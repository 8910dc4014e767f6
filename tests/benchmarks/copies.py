"""How does the search for near copies grow with the number of clips, and does it still find them all?

    python tests/benchmarks/copies.py [--clips 1000 10000 100000] [--recordings FOLDER]

Real recordings and three copies of each (half as loud, at 12 kHz, cut by 0.3 s) lie among clips whose words are drawn,
a quarter of a second at a time, from the prints of the recordings: as alike as speech is. Of many such clips, a few
have the same three pieces in a row by chance, and are found, too.
"""

import argparse
import resource
import time
from pathlib import Path

import numpy as np
import soundfile
import soxr

from pipelines.copies.duplicates import Prints, near_pairs
from pipelines.copies.prints import HOP_SECONDS, RATE_HZ, STEP, Words, words_of

MEAN_WORDS = 240
"""Of a clip, about 8 s, gamma distributed."""


def printed(wave_S: np.ndarray, rate_hz: int) -> Words:
    """The print of a waveform at any rate."""
    return words_of(soxr.resample(wave_S, rate_hz, RATE_HZ).astype(np.float32))


def recordings(folder: Path) -> tuple[list[Words], list[Words]]:
    """Prints of the recordings, and of three copies of each, in order."""
    originals, copies = [], []
    for file in sorted(folder.rglob("*.flac")):
        wave_SC, rate_hz = soundfile.read(file, dtype="float32", always_2d=True)
        wave_S = wave_SC.mean(axis=1)
        if len(wave_S) < 2 * rate_hz:
            continue
        low = soxr.resample(wave_S, rate_hz, 12000)
        originals.append(printed(wave_S, rate_hz))
        copies += [printed(wave_S / 2, rate_hz), printed(low, 12000), printed(wave_S[round(0.3 * rate_hz) :], rate_hz)]
    return originals, copies


def drawn(count: int, originals: list[Words]) -> list[Words]:
    """Clips that are no copies of one another."""
    rng = np.random.default_rng(count)
    pool = np.concatenate(originals)
    sizes = np.clip(rng.gamma(3, MEAN_WORDS / 3, count), 30, 900).astype(int) // STEP * STEP
    starts = rng.integers(0, len(pool) - STEP, int(sizes.sum()) // STEP, dtype=np.int32)
    words = pool[starts[:, None] + np.arange(STEP, dtype=np.int32)].reshape(-1)
    return np.split(words, np.cumsum(sizes)[:-1])


def main() -> None:
    """A line a size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument(
        "--recordings", type=Path, default=Path(__file__).parents[3] / "shared" / "audio" / "libri_other"
    )
    args = parser.parse_args()
    originals, copies = recordings(args.recordings)
    for count in args.clips:
        prints = Prints.of([*drawn(count, originals), *originals, *copies])
        wall, cpu = time.perf_counter(), time.process_time()
        pairs = {(pair.one - count, pair.other - count) for pair in near_pairs(prints)}
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        wanted = {(number // 3, len(originals) + number) for number in range(len(copies))}
        strange = sum(one < 0 for one, _ in pairs)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"{count:>9,} clips, {len(prints.words) * HOP_SECONDS / 3600:8,.1f} h: {cpu:7.1f} s of processor time, "
            f"{wall:7.1f} s; found {len(wanted & pairs) / len(wanted):.1%} of {len(wanted)} copies, "
            f"{strange} pairs of drawn clips; {memory:.1f} GiB",
            flush=True,
        )


if __name__ == "__main__":
    main()
