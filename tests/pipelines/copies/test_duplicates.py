"""Near copies: found after codecs, gain, resampling and cuts; not other clips of the same voice; at a linear cost."""

import io
import itertools
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import soxr

from pipelines.copies.duplicates import NEIGHBORS, Prints, key_places, near_pairs
from pipelines.copies.prints import HOP_SECONDS, RATE_HZ, Words, from_text, to_text, words_of
from pipelines.row import Wave

EVERY = 3
"""Of the recordings: all of them give the same, in twice the time."""


def printed(wave_S: Wave, rate_hz: int) -> Words:
    return words_of(soxr.resample(wave_S, rate_hz, RATE_HZ).astype(np.float32))


def coded(wave_S: Wave, rate_hz: int, *, codec: str, kind: str, bits: int) -> tuple[Wave, int]:
    """Through a lossy codec and back."""
    if codec == "libopus" or rate_hz not in (16000, 22050, 24000, 44100, 48000):
        wave_S, rate_hz = soxr.resample(wave_S, rate_hz, 48000), 48000
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=rate_hz)
        stream.bit_rate, stream.layout = bits, "mono"
        whole = (np.clip(wave_S, -1, 1) * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(whole, format="s16", layout="mono")
        frame.sample_rate = rate_hz
        stream.codec_context.open()
        fit = av.AudioResampler(stream.format, "mono", rate_hz, frame_size=stream.codec_context.frame_size)
        for piece in [*fit.resample(frame), *fit.resample(None), None]:
            container.mux(stream.encode(piece))
    with av.open(io.BytesIO(file.getvalue())) as container:
        flat = av.AudioResampler("flt", "mono")
        frames = itertools.chain.from_iterable(flat.resample(frame) for frame in container.decode(audio=0))
        parts = [(frame.to_ndarray()[0], frame.sample_rate) for frame in frames]
    return np.concatenate([part for part, _ in parts]), parts[0][1]


def copies_of(wave_S: Wave, rate_hz: int) -> Iterator[tuple[str, Wave, int]]:
    """What is done to recordings before they turn up again."""
    cut = round(0.3 * rate_hz)
    yield "mp3 64k", *coded(wave_S, rate_hz, codec="libmp3lame", kind="mp3", bits=64_000)
    yield "mp3 128k", *coded(wave_S, rate_hz, codec="libmp3lame", kind="mp3", bits=128_000)
    yield "opus 32k", *coded(wave_S, rate_hz, codec="libopus", kind="ogg", bits=32_000)
    yield "6 dB louder", np.clip(wave_S * 2, -1, 1), rate_hz
    yield "6 dB lower", wave_S / 2, rate_hz
    yield "16 kHz", soxr.resample(wave_S, rate_hz, 16000), 16000
    yield "cut in front", wave_S[cut:], rate_hz
    yield "cut behind", wave_S[:-cut], rate_hz


@pytest.fixture(scope="module")
def recordings(shared: Path) -> list[tuple[str, Wave, int]]:
    """Read speech, several clips of each voice."""
    found = []
    for file in sorted(
        file for folder in ("libri_*", "en", "zh") for file in (shared / "audio").glob(f"{folder}/*.flac")
    ):
        wave_SC, rate_hz = soundfile.read(file, dtype="float32", always_2d=True)
        found.append((file.name, wave_SC.mean(axis=1), rate_hz))
    return found


@pytest.mark.shared
def test_copies_are_found_and_other_clips_of_the_same_voice_are_not(recordings: list[tuple[str, Wave, int]]) -> None:
    originals = [printed(wave_S, rate_hz) for _, wave_S, rate_hz in recordings]
    assert near_pairs(Prints.of(originals)) == []
    kinds: dict[str, list[Words]] = {}
    chosen = range(0, len(recordings), EVERY)
    for number in chosen:
        for kind, copy_S, rate_hz in copies_of(*recordings[number][1:]):
            kinds.setdefault(kind, []).append(printed(copy_S.astype(np.float32), rate_hz))
    for kind, copies in kinds.items():
        groups = np.repeat([0, 1], [len(originals), len(copies)])
        found = {
            (pair.one, pair.other - len(originals)) for pair in near_pairs(Prints.of([*originals, *copies]), groups)
        }
        right = {(number, place) for place, number in enumerate(chosen)}
        assert len(found & right) >= 0.98 * len(right), kind
        assert found <= right, f"{kind}: {found - right} are not copies"


@pytest.mark.shared
@pytest.mark.parametrize("below_db", [10, 15])
def test_different_speech_over_the_same_music_is_no_copy(
    recordings: list[tuple[str, Wave, int]], shared: Path, below_db: float
) -> None:
    tune_S, rate_hz = soundfile.read(shared / "audio/music/demucs_test.mp3", dtype="float32", always_2d=True)
    tune_S = soxr.resample(tune_S.mean(axis=1), rate_hz, RATE_HZ)
    size = 5 * RATE_HZ
    tails = [soxr.resample(wave_S, rate_hz, RATE_HZ)[-size:] for _, wave_S, rate_hz in recordings]
    clips = [tail_S for tail_S in tails if len(tail_S) == size]
    for start in (0, size, 2 * size):
        music_S = tune_S[start : start + size]
        scale = 10 ** (-below_db / 20) / np.sqrt(np.square(music_S).mean())
        both = [clip_S + scale * np.sqrt(np.square(clip_S).mean()) * music_S for clip_S in clips]
        assert near_pairs(Prints.of([words_of(wave_S.astype(np.float32)) for wave_S in both])) == []


def noise(count: int, *, seed: int, size: int = 200) -> list[Words]:
    """Words of clips that have nothing in common."""
    rng = np.random.default_rng(seed)
    return [rng.integers(1, 0xFFFF, size).astype(np.uint16) for _ in range(count)]


def worn(words: Words, *, share: float, seed: int = 0) -> Words:
    """With some bits turned."""
    flips = np.random.default_rng(seed).random((len(words), 16)) < share
    return words ^ (flips * (1 << np.arange(16))).sum(axis=1).astype(np.uint16)


def test_part_of_a_clip_is_found_where_it_is() -> None:
    clips = noise(50, seed=1)
    part = worn(clips[7][60:150], share=0.03)
    (pair,) = near_pairs(Prints.of([*clips, part]))
    assert (pair.one, pair.other) == (7, 50)
    assert pair.shift_seconds == pytest.approx(60 * HOP_SECONDS)
    assert pair.seconds == pytest.approx(90 * HOP_SECONDS)
    assert 0.02 < pair.rate < 0.04


def test_overlap_at_the_border_counts_for_what_both_have() -> None:
    whole = noise(1, seed=2, size=300)[0]
    (pair,) = near_pairs(Prints.of([whole[:200], worn(whole[120:], share=0.02)]))
    assert (pair.shift_seconds, pair.seconds) == (pytest.approx(120 * HOP_SECONDS), pytest.approx(80 * HOP_SECONDS))


def test_groups_are_not_compared_with_themselves() -> None:
    clips = noise(3, seed=3)
    prints = Prints.of([*clips, *clips])
    assert len(near_pairs(prints)) == 3
    assert near_pairs(prints, np.zeros(6, dtype=np.int64)) == []
    assert [(p.one, p.other) for p in near_pairs(prints, np.array([0, 0, 0, 0, 1, 1]))] == [(1, 4), (2, 5)]


def test_silence_and_short_clips_are_no_copies() -> None:
    silence = np.zeros(200, dtype=np.uint16)
    assert near_pairs(Prints.of([silence, silence, *noise(2, seed=4), *noise(2, seed=4, size=20)])) == []
    assert near_pairs(Prints.of([])) == []
    assert near_pairs(Prints.of([np.zeros(0, np.uint16)] * 3)) == []
    assert len(words_of(np.zeros(4095, np.float32))) == 0


def test_what_all_have_in_common_does_not_make_all_pairs() -> None:
    jingle = noise(1, seed=5, size=100)[0]
    clips = [np.concatenate([jingle, clip]) for clip in noise(300, seed=6)]
    pairs = near_pairs(Prints.of(clips))
    assert 299 <= len(pairs) <= 300 * NEIGHBORS
    assert all(pair.shift_seconds == 0 and abs(pair.seconds - 100 * HOP_SECONDS) < 0.2 for pair in pairs)


def test_keys_are_bounded_and_chosen_alike_in_a_copy() -> None:
    long = noise(1, seed=7, size=3000)[0]
    prints = Prints.of([long, long])
    places = key_places(prints, np.repeat([0, 1], 3000).astype(np.int32))
    one, other = places[places < 3000], places[places >= 3000] - 3000
    assert np.array_equal(one, other)
    assert 30 < len(one) < 110


def test_print_comes_back_from_its_text() -> None:
    words = noise(1, seed=8)[0]
    assert np.array_equal(from_text(to_text(words)), words)
