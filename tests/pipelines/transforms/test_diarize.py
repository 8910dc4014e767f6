"""Who speaks when: on recordings made of known voices; memory bounded; the same each time."""

from pathlib import Path

import numpy as np
import pytest
import torch

from infra.manifest import parse
from models.frozen import Wave, WeightsError
from pipelines.chain import Chain
from pipelines.clip import Decoded
from pipelines.diarizers.windows import pieces_of, windows_of
from pipelines.hearing.voices import Spoken
from pipelines.manifest import CorpusManifest
from pipelines.readers import folder
from pipelines.transforms.diarize import Config, Transform, parts_of
from pipelines.units import unit_of
from tests.pipelines.joined_voices import Spoken as Clip
from tests.pipelines.joined_voices import decoded, error, librispeech, turns


def test_parts_overlap_and_cover_the_recording_and_none_is_a_scrap() -> None:
    cfg = Config(part_minutes=2, shared_seconds=30)
    assert parts_of(100, cfg=cfg) == [(0, 100)]
    assert parts_of(149, cfg=cfg) == [(0, 149)]
    assert parts_of(300, cfg=cfg) == [(0, 120), (90, 210), (180, 300)]


class TwoVoices:
    """A diarizer that hears one voice where samples are positive, and another where they are negative."""

    fingerprint = "two"

    def __init__(self) -> None:
        self.heard: list[int] = []

    def __call__(self, wave_S: Wave) -> Spoken | None:
        self.heard.append(len(wave_S))
        active_FV = np.stack([wave_S[80::160] > 0, wave_S[80::160] < 0], axis=1)
        return Spoken(active_FV, np.eye(2, dtype=np.float32)) if active_FV.any() else None


def test_no_part_of_a_long_recording_is_longer_than_it_may_be_and_turns_go_through() -> None:
    """Seven minutes, a voice a minute, a silent one among them."""
    wave_S = np.repeat(np.array([1, -1, 1, 0, -1, 1, -1], dtype=np.float32), 60 * 16000)
    transform = Transform(Config(part_minutes=2, shared_seconds=30, pad_seconds=0))
    transform.diarizer = two = TwoVoices()
    found = transform(decoded(wave_S))
    assert isinstance(found, Decoded)
    assert found.turns is not None
    shown = [(round(turn.start_seconds), round(turn.end_seconds), turn.voice) for turn in found.turns]
    assert shown == [(0, 60, "0"), (60, 120, "1"), (120, 180, "0"), (240, 300, "1"), (300, 360, "0"), (360, 420, "1")]
    assert max(two.heard) <= 150 * 16000


def test_windows_cover_a_piece_and_pieces_a_run() -> None:
    assert windows_of(10, 100) == [(10, 100)]
    assert windows_of(0, 400) == [(0, 150), (75, 225), (150, 300), (225, 375), (250, 400)]
    assert pieces_of(np.array([100, 300]), [90, 110, 200, 215, 290]) == [(100, 200), (200, 300)]


def test_silence_and_noise_have_no_turns() -> None:
    transform = Transform(Config())
    noise = np.random.default_rng(0).normal(0, 0.1, 80000).astype(np.float32)
    for wave_S in (np.zeros(80000, np.float32), noise, noise[:1000], noise[:0]):
        found = transform(decoded(wave_S))
        assert isinstance(found, Decoded)
        assert found.turns == ()


def test_missing_weights_are_found_before_any_recording(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no segmentation checkpoint at"):
        Transform(Config(segmentation=tmp_path / "none.pt"))
    with pytest.raises(ValueError, match=r"models/frozen/silero\.py tells no voices apart"):
        Config(embedder="silero")
    with pytest.raises(ValueError, match="no 'nobody' in pipelines/diarizers"):
        Config(backend="nobody")


def test_fingerprint_follows_the_weights(tmp_path: Path) -> None:
    from models.speaker.campplus import CAMPPlus

    torch.manual_seed(0)
    torch.save(CAMPPlus(24).state_dict(), tmp_path / "x.pt")
    made = [
        Transform(cfg).fingerprint
        for cfg in (Config(), Config(checkpoint=tmp_path / "x.pt"), Config(embedder="resemblyzer"))
    ]
    assert len(set(made)) == 3
    assert Transform(Config(onset=0.6)).fingerprint == made[0], "settings count beside it"


@pytest.fixture(scope="module")
def clips(shared: Path) -> list[Clip]:
    return librispeech(shared / "audio")


@pytest.mark.shared
@pytest.mark.parametrize("clustering", ["linkage", "spectral"])
def test_three_real_voices_are_told_apart_at_any_rate(clips: list[Clip], clustering: str) -> None:
    import soxr

    wave_S, truth = turns(clips, random=np.random.default_rng(11), voices=3, count=5, gap_seconds=(0.1, 0.5))
    at_48k = np.asarray(soxr.resample(wave_S, 16000, 48000), dtype=np.float32)
    found = Transform(Config.model_validate({"clustering": clustering}))(decoded(at_48k, rate_hz=48000))
    assert isinstance(found, Decoded)
    assert found.turns
    assert {turn.voice for turn in found.turns} == {"0", "1", "2"}
    assert error(truth, found.turns, seconds=len(wave_S) / 16000).rate <= 0.05
    assert found.wave_S is at_48k


@pytest.mark.shared
def test_a_recording_in_parts_has_the_turns_of_the_whole(clips: list[Clip]) -> None:
    wave_S, truth = turns(clips, random=np.random.default_rng(12), voices=2, count=10, gap_seconds=(0.1, 0.5))
    seconds = len(wave_S) / 16000
    assert seconds > 95
    parts = Transform(Config(part_minutes=1.01, shared_seconds=30))(decoded(wave_S))
    assert isinstance(parts, Decoded)
    assert parts.turns
    assert {turn.voice for turn in parts.turns} == {"0", "1"}
    assert error(truth, parts.turns, seconds=seconds).rate <= 0.05


@pytest.mark.shared
def test_two_voices_at_once_are_heard_as_two(clips: list[Clip]) -> None:
    random = np.random.default_rng(13)
    one_S, truth = turns(clips, random=random, voices=2, count=2, gap_seconds=(0, 0))
    start, length = round(truth[1].start_seconds * 16000), 4 * 16000
    over_S = one_S.copy()
    over_S[start : start + length] += one_S[start - length - 8000 : start - 8000]
    transform = Transform(Config())
    for wave_S, least, most in ((one_S, 0.0, 0.2), (over_S, 1.2, 5.0)):
        found = transform(decoded(wave_S))
        assert isinstance(found, Decoded)
        assert found.turns
        spans = [(turn.start_seconds, turn.end_seconds, turn.voice) for turn in found.turns]
        both = sum(
            max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
            for n, a in enumerate(spans)
            for b in spans[n + 1 :]
            if a[2] != b[2]
        )
        assert least <= both <= most, both


@pytest.mark.shared
def test_a_chain_gives_segments_of_one_voice_each_and_loses_nothing(clips: list[Clip], tmp_path: Path) -> None:
    import soundfile

    wave_S, truth = turns(clips, random=np.random.default_rng(14), voices=2, count=4, gap_seconds=(0.0, 0.3))
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in" / "x.wav", wave_S, 16000, subtype="FLOAT")
    named = {"name": "toy", "transforms": ["probe", "diarize", "segment", "speaker"]}
    chain = Chain(parse(CorpusManifest, named, where="toy"))
    result = chain.run_unit(unit_of(list(folder.recordings(folder.Config(), tmp_path / "in"))), tmp_path / "out")
    assert result is not None
    assert sum(fate.seconds for fate in result.fates) == pytest.approx(len(wave_S) / 16000, abs=1e-3)
    segments = [fate.segment for fate in result.fates if fate.segment and fate.status == "ready"]
    assert {segment["turn"] for segment in segments} == {"0", "1"}
    for segment in segments:
        start, end = segment["start_sample"] / 16000, segment["end_sample"] / 16000
        shares: dict[str, float] = {}
        for turn in truth:
            shared = min(end, turn.end_seconds) - max(start, turn.start_seconds)
            shares[turn.voice] = shares.get(turn.voice, 0.0) + max(0.0, shared)
        assert sum(shares.values()) - max(shares.values()) <= 0.3, segment
        assert segment["speaker"] == f"{segment['recording_sha256'][:12]}-{segment['turn']}"
        assert segment["overlap_ratio"] <= 0.02
