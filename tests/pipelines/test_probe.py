"""Probe: what can be decoded is, exactly; everything else is a reason, and never an exception."""

import resource
import struct
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from pipelines.clip import Decoded, Unusable
from pipelines.held import quantized
from pipelines.reading import containers
from pipelines.reading.containers import member_uri
from pipelines.reading.decode import opened
from pipelines.row import Recording
from pipelines.transforms.probe import Config, Transform
from tests.pipelines.bad_sound import good
from tests.processes import limited

Wave = NDArray[np.float32]


def tone(*, seconds: float = 1.0, rate_hz: int = 16000, channels: int = 1) -> Wave:
    time_S = np.arange(round(seconds * rate_hz)) / rate_hz
    wave_S = (0.3 * np.sin(2 * np.pi * 440 * time_S)).astype(np.float32)
    return wave_S if channels == 1 else np.stack([wave_S * (c + 1) / channels for c in range(channels)], axis=1)


def probe(path: Path, cfg: Config | None = None, **facts: float) -> Decoded | Unusable:
    size = path.stat().st_size if path.exists() else 0
    recording = Recording(uri=str(path), name=path.name, bytes=size, **facts)  # type: ignore[arg-type]
    return Transform(cfg or Config())([recording])[0]


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3", "opus", "aiff", "m4a"])
def test_any_codec_becomes_mono_at_its_own_rate(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x.{kind}"
    wave_S = tone(rate_hz=48000, channels=2, seconds=2)
    if kind == "m4a":
        write_m4a(path, wave_S)
    elif kind == "opus":
        soundfile.write(path, wave_S, 48000, format="OGG", subtype="OPUS")
    else:
        soundfile.write(path, wave_S, 48000)
    found = probe(path)
    assert isinstance(found, Decoded), found
    assert (found.rate_hz, found.channels) == (48000, 2)
    assert abs(len(found.wave_S) - 96000) < 3000
    middle = found.wave_S[40000:60000]
    assert abs(np.abs(middle).max() - 0.3 * 0.75) < 0.01
    assert found.recording.sha256 is not None
    assert len(found.recording.sha256) == 64


def write_m4a(path: Path, wave_SC: Wave) -> None:
    import av

    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=48000, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave_SC.T), format="fltp", layout="stereo")
        frame.rate = 48000
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)


def test_wav_decodes_exactly(tmp_path: Path) -> None:
    whole = np.arange(-30000, 30000, 3, dtype=np.int16)
    soundfile.write(tmp_path / "x.wav", whole, 22050)
    found = probe(tmp_path / "x.wav")
    assert isinstance(found, Decoded)
    assert np.array_equal(found.wave_S * 32768, whole)


def test_rates_above_48k_come_down_and_none_goes_up(tmp_path: Path) -> None:
    for rate_hz, kept in ((96000, 48000), (8000, 8000)):
        soundfile.write(tmp_path / "x.wav", tone(rate_hz=rate_hz), rate_hz)
        found = probe(tmp_path / "x.wav")
        assert isinstance(found, Decoded)
        assert (found.rate_hz, len(found.wave_S)) == (kept, kept)


def test_high_rates_come_down_to_what_soxr_makes_of_the_whole(tmp_path: Path) -> None:
    whole = np.random.default_rng(0).uniform(-0.3, 0.3, (1_500_017, 2)).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", whole, 96000, subtype="FLOAT")
    found = probe(tmp_path / "x.wav")
    assert isinstance(found, Decoded)
    assert np.array_equal(found.wave_S, soxr.resample(whole.mean(axis=1, dtype=np.float32), 96000, 48000))
    part = probe(tmp_path / "x.wav", start_seconds=2.0, end_seconds=3.5)
    assert isinstance(part, Decoded)
    assert (part.offset_samples, len(part.wave_S)) == (96000, 72000)


CHANNELS: dict[str, tuple[list[float], int | None]] = {
    "opposite": ([1, -1], 0), "nearly opposite": ([0.5, -0.6], 1), "one of six": ([0, 0, 1, 0, 0, 0], 2),
    "one of four": ([0, 0, 0, 1], 3), "one of two": ([0, 1], None), "alike": ([1, 1], None), "mono": ([1], None),
    "empty": ([0, 0], None),
}  # fmt: skip


@pytest.mark.parametrize("kind", CHANNELS)
@pytest.mark.parametrize("suffix", ["wav", "mka"])
def test_channels_are_averaged_unless_they_cancel_and_the_row_says_which_was_taken(
    tmp_path: Path, kind: str, suffix: str
) -> None:
    levels, channel = CHANNELS[kind]
    whole = (tone(seconds=2, rate_hz=48000)[:, None] * np.array(levels)).astype(np.float32)
    path = tmp_path / "x.wav"
    soundfile.write(path, whole, 48000, subtype="FLOAT")
    if suffix == "mka":
        path = in_matroska(path)
    found = probe(path)
    if kind == "empty":
        assert isinstance(found, Unusable)
        return
    assert isinstance(found, Decoded), found
    assert (found.channel, found.channels) == (channel, len(levels))
    assert np.array_equal(found.wave_S, whole.mean(axis=1, dtype=np.float32) if channel is None else whole[:, channel])


def in_matroska(path: Path) -> Path:
    """The same samples in a container that FFmpeg alone reads."""
    import av

    with av.open(str(path)) as given, av.open(str(path.with_suffix(".mka")), "w") as container:
        stream = container.add_stream_from_template(given.streams.audio[0])
        for packet in given.demux(given.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    return path.with_suffix(".mka")


def test_two_speakers_one_in_each_channel_are_both_heard(tmp_path: Path) -> None:
    both = np.random.default_rng(0).normal(0, 0.1, (32000, 2)).astype(np.float32)
    both[:16000, 0] = both[16000:, 1] = 0
    soundfile.write(tmp_path / "x.wav", both, 16000, subtype="FLOAT")
    found = probe(tmp_path / "x.wav")
    assert isinstance(found, Decoded)
    assert np.array_equal(found.wave_S, both.mean(axis=1))
    assert found.channel is None


def test_samples_above_full_scale_are_scaled_and_the_row_says_by_how_much(tmp_path: Path) -> None:
    whole = (6.4 / 0.3 * tone()).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", whole, 16000, subtype="FLOAT")
    found = probe(tmp_path / "x.wav")
    assert isinstance(found, Decoded)
    assert found.gain == pytest.approx(1 / 6.4)
    assert np.allclose(quantized(found.wave_S), whole / 6.4, atol=1.01 / 32768)
    soundfile.write(tmp_path / "x.wav", np.array([-32768, 32767] * 8000, np.int16), 16000)
    full = probe(tmp_path / "x.wav")
    assert isinstance(full, Decoded)
    assert full.gain is None
    assert set(full.wave_S.tolist()) == {-1.0, 32767 / 32768}


def test_interval_of_a_file(tmp_path: Path) -> None:
    wave_S = tone(seconds=3)
    soundfile.write(tmp_path / "x.wav", wave_S, 16000, subtype="FLOAT")
    found = probe(tmp_path / "x.wav", start_seconds=1.0, end_seconds=2.5)
    assert isinstance(found, Decoded)
    assert found.offset_samples == 16000
    assert np.array_equal(found.wave_S, wave_S[16000:40000])


@pytest.mark.parametrize("kind", ["m4a", "m4a front", "aac"])
def test_interval_of_a_file_of_ffmpeg_is_the_same_part_and_costs_no_decoding_of_all_before_it(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "x.m4a"
    path.write_bytes(good(kind, seconds=30))
    whole, late = probe(path), probe(path, start_seconds=20.0, end_seconds=21.0)
    assert isinstance(whole, Decoded)
    assert isinstance(late, Decoded)
    assert len(late.wave_S) == 16000
    assert np.abs(late.wave_S - whole.wave_S[320000:336000]).max() < 0.05, "what the codec fills in as noise may differ"
    with path.open("rb") as file, opened(file) as source:
        at, _ = source.blocks(320000)
        assert (at == 0) if kind == "aac" else (300000 < at <= 320000)


def spoil(path: Path, kind: str) -> None:
    """Write a file that is bad in the way that `kind` says."""
    good = tone(seconds=4)
    soundfile.write(path, good, 16000)
    data = path.read_bytes()
    match kind:
        case "empty":
            path.write_bytes(b"")
        case "header only":
            path.write_bytes(data[:44])
        case "text":
            path.write_text("this is not sound\n" * 100)
        case "zeros":
            path.write_bytes(bytes(5000))
        case "nan":
            soundfile.write(path, np.where(good > 0.29, np.nan, good), 16000, subtype="FLOAT")
        case "infinite":
            soundfile.write(path, np.where(good > 0.29, np.inf, good), 16000, subtype="FLOAT")
        case "silence":
            soundfile.write(path, np.zeros(16000, np.float32), 16000)
        case "rate 0":
            path.write_bytes(data[:24] + struct.pack("<I", 0) + data[28:])
        case "rate 1":
            soundfile.write(path, good, 1)
        case "rate 10 MHz":
            soundfile.write(path, good, 10_000_000)
        case "channels":
            soundfile.write(path, np.full((100, 64), 0.1, np.float32), 16000)
        case "cut flac":
            flac = path.with_suffix(".flac")
            soundfile.write(flac, np.random.default_rng(0).uniform(-0.5, 0.5, 64000), 16000)
            path.write_bytes(flac.read_bytes()[: flac.stat().st_size // 2])
        case "cut mp3":
            mp3 = path.with_suffix(".mp3")
            soundfile.write(mp3, np.random.default_rng(0).uniform(-0.5, 0.5, 160000), 16000)
            path.write_bytes(mp3.read_bytes()[: mp3.stat().st_size // 2])
        case "bomb":
            soundfile.write(path, tone(seconds=90), 16000)
        case "gone":
            path.unlink()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("empty", "failed:empty: no bytes in it"),
        ("header only", "failed:empty"),
        ("text", "failed:decode: neither libsndfile"),
        ("zeros", "failed:decode"),
        ("nan", "failed:not_finite"),
        ("infinite", "failed:not_finite"),
        ("silence", "dropped:silence"),
        ("rate 0", "failed:"),
        ("rate 1", "failed:rate: 1 Hz"),
        ("rate 10 MHz", "failed:rate: 10000000 Hz"),
        ("channels", "failed:channels: 64"),
        ("cut flac", "failed:"),
        ("cut mp3", "failed:truncated: declares"),
        ("bomb", "failed:too_long: over 1 minutes"),
        ("gone", "failed:unreadable: no such file"),
    ],
)
def test_bad_file_is_a_reason(tmp_path: Path, kind: str, reason: str) -> None:
    path = tmp_path / "x.wav"
    spoil(path, kind)
    found = probe(path, Config(max_minutes=1))
    assert isinstance(found, Unusable)
    assert found.reason.startswith(reason), found.reason


def test_recording_that_fails_counts_with_the_hours_it_declares(tmp_path: Path) -> None:
    spoil(tmp_path / "x.wav", "cut flac")
    found = probe(tmp_path / "x.wav")
    assert isinstance(found, Unusable)
    assert found.seconds == pytest.approx(4.0)


def test_a_machine_without_room_is_no_fault_of_the_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many open files, or temporary files on a full disk: all that is read then would be lost as unreadable."""
    soundfile.write(tmp_path / "x.wav", tone(), 16000)
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz", format=tarfile.USTAR_FORMAT) as packed:
        packed.add(tmp_path / "x.wav", "x.wav")
    size = (tmp_path / "x.wav").stat().st_size
    uri = member_uri(tmp_path / "x.tar.gz", member="x.wav", offset=512, length=size)
    recording = Recording(uri=uri, name="x.wav", bytes=size)
    with limited(resource.RLIMIT_NOFILE, 0), pytest.raises(OSError, match="Too many open files"):
        probe(tmp_path / "x.wav")
    monkeypatch.setattr(containers, "IN_MEMORY", 1000)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with limited(resource.RLIMIT_FSIZE, 2000), pytest.raises(OSError, match="File too large") as told:
        Transform(Config())([recording])
    assert told.value.filename == str(tmp_path)
    assert isinstance(Transform(Config())([recording])[0], Decoded)


@pytest.mark.shared
def test_every_real_format_decodes_to_its_length(shared: Path) -> None:
    from pipelines.readers import folder

    decode = Transform(Config()).decode
    found = [r for r in folder.recordings(folder.Config(), shared / "audio") if r.name.startswith("formats/")]
    assert len(found) == 16
    for recording in found:
        decoded = decode(recording)
        assert isinstance(decoded, Decoded), decoded
        told = recording.extra.get("duration")
        if told:
            assert abs(len(decoded.wave_S) / decoded.rate_hz - float(told)) < 0.06, recording.name
            assert decoded.rate_hz == min(int(recording.extra["sample_rate"]), 48000)
