"""Every kind of bad input that we know of ends as a row with a reason, through a real reader and the real probe."""

import json
import struct
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.manifest import resolve
from pipelines.clip import Decoded, Unusable
from pipelines.reading.admit import admitted
from pipelines.transforms import probe
from tests.pipelines.bad_sound import (
    RATE_HZ,
    flipped,
    frame_border,
    good,
    patched,
    scrambled,
    tone,
    wav,
    wide,
    without_tag,
)
from tests.pipelines.readers.material import lines, parquet, put, tar
from tests.processes import PATIENCE_SECONDS

ROOT = Path(__file__).resolve().parents[2]
Files = Mapping[str, bytes | str]
OK = ""
"""What is expected of a file that is odd, and yet a recording."""

SECONDS = 4.0


def made_of(root: Path, reader: str, **settings: Any) -> list[Decoded | Unusable]:
    module = resolve("pipelines.readers", reader)
    found = admitted(module.recordings(module.Config(), root), allow_evaluation=False)
    return probe.Transform(probe.Config(**{"max_minutes": 1, **settings}))(list(found))


def told(made: Decoded | Unusable) -> str:
    """The reason, or nothing; what is told can be written and printed."""
    facts = made.recording if isinstance(made, Decoded) else made
    json.dumps(asdict(made.recording) | {"uri": ""}, ensure_ascii=False).encode()
    assert "\n" not in made.recording.name
    if isinstance(facts, Unusable):
        assert len(facts.reason) <= 400
        assert "\n" not in facts.reason
        assert np.isfinite(facts.seconds)
        return facts.reason
    assert isinstance(made, Decoded)
    assert np.isfinite(made.wave_S).all()
    return OK


def cut(kind: str, share: float) -> bytes:
    data = good(kind)
    return data[: int(len(data) * share)] if share < 1 else data[:-1]


def truncations() -> dict[str, tuple[bytes, str]]:
    """Cut at a quarter, at half, and by one byte."""
    found: dict[str, tuple[bytes, str]] = {}
    reasons = {
        "wav": "failed:truncated: declares 4.00 s", "aiff": "failed:truncated: declares 4.00 s",
        "flac": "failed:decode", "mp3": "failed:truncated: declares 4.0", "ogg": "failed:truncated",
        "opus": "failed:truncated", "m4a": "failed:decode", "m4a front": "failed:truncated: declares 4.0",
    }  # fmt: skip
    # one byte less is one sample less where nothing else lies behind it, or no sound at all in the index of MP4
    whole = {"wav", "aiff", "mp3", "m4a", "m4a front"}
    for kind, reason in reasons.items():
        # what is left of an Ogg file of a few seconds need not hold a page of sound
        found[f"{kind} cut at 1/4"] = cut(kind, 0.25), "failed:" if kind in ("ogg", "opus") else reason
        found[f"{kind} cut at 1/2"] = cut(kind, 0.5), reason
        found[f"{kind} without its last byte"] = cut(kind, 1), OK if kind in whole else reason
    return found


FLAC = good("flac")
WAV = good("wav")
MP3 = good("mp3")
M4A = good("m4a")
STREAMINFO_SAMPLES = 8 + 10
"""Where the 8 bytes with rate, channels, depth and the number of samples begin in a FLAC file."""


def flac_samples(data: bytes, count: int) -> bytes:
    packed = struct.unpack(">Q", data[STREAMINFO_SAMPLES : STREAMINFO_SAMPLES + 8])[0]
    return patched(data, STREAMINFO_SAMPLES, ">Q", packed & ~((1 << 36) - 1) | count)


def xing_frames(data: bytes, count: int) -> bytes:
    at = max(data.find(b"Info"), data.find(b"Xing"))
    return patched(data, at + 8, ">I", count)


SOUNDS: dict[str, tuple[bytes, str]] = {
    **truncations(),
    "empty": (b"", "failed:empty: no bytes in it"),
    "header only wav": (WAV[:44], "failed:"),
    "header only flac": (FLAC[:42], "failed:"),
    "header only ogg": (good("ogg")[:58], "failed:"),
    "header only mp3": (MP3[:4], "failed:"),
    "header only m4a": (M4A[:32], "failed:decode"),
    "half a header": (WAV[:20], "failed:decode"),
    "flipped bits wav": (flipped(WAV), OK),
    "flipped bits flac": (flipped(FLAC), "failed:decode"),
    "flipped bits ogg": (flipped(good("ogg"), bits=200, skip=6000), "failed:"),
    "flipped bits opus": (flipped(good("opus"), bits=200), "failed:"),
    "flipped bits in a header": (patched(WAV, 0, "<I", 0x12345678), "failed:decode"),
    "data size too large": (patched(WAV, 40, "<I", 1 << 30), "failed:too_long"),
    "data size a little too large": (patched(WAV, 40, "<I", 6 * RATE_HZ * 2), "failed:truncated: declares 6.00 s"),
    "data size too small": (patched(WAV, 40, "<I", 2 * RATE_HZ * 2), "failed:truncated: its header tells of 64000 "),
    "data size 0": (patched(WAV, 40, "<I", 0), "failed:truncated: its header tells of 0 bytes"),
    "wav with chunks behind": (WAV + b"LIST\x04\0\0\0INFO" + b"id3 \x02\0\0\0xx", OK),
    "wav with a tag behind": (WAV + b"TAG" + bytes(range(1, 126)) * 100, OK),
    "wav with zeros behind": (WAV + bytes(100_000), OK),
    "data size unknown": (patched(WAV, 40, "<I", 0xFFFFFFFF), OK),
    "flac of a lying length": (flac_samples(FLAC, 10 * RATE_HZ), "failed:"),
    "flac of a vast length": (flac_samples(FLAC, (1 << 36) - 1), "failed:too_long"),
    "mp3 of a lying length": (xing_frames(MP3, 700), "failed:truncated: declares"),
    "mp3 of a vast length": (xing_frames(MP3, (1 << 31) - 1), "failed:"),
    "mp3 without a tag": (without_tag(MP3), OK),
    "mp3 without a tag cut in a frame": (without_tag(MP3)[: len(MP3) // 2], "failed:truncated: it ends inside"),
    "mp3 without a tag without its last byte": (without_tag(MP3)[:-1], "failed:truncated: it ends inside"),
    "0 Hz": (patched(WAV, 24, "<I", 0), "failed:"),
    "1 Hz": (wav(tone(), rate_hz=1), "failed:rate: 1 Hz"),
    "10 MHz": (wav(tone(), rate_hz=10_000_000), "failed:rate: 10000000 Hz"),
    "4 GHz": (patched(WAV, 24, "<I", 0xFFFFFFFF), "failed:"),
    "0 channels": (wide(WAV, 0), "failed:"),
    "64 channels": (wav(np.full((100, 64), 0.1, np.float32)), "failed:channels: 64"),
    "65535 channels": (wide(WAV, 65535), "failed:"),
    "0 bits": (patched(WAV, 34, "<H", 0), "failed:"),
    "unknown codec": (patched(WAV, 20, "<H", 0x1234), "failed:decode"),
    "NaN": (wav(np.where(tone() > 0.29, np.nan, tone())), "failed:not_finite"),
    "infinity": (wav(np.where(tone() > 0.29, np.inf, tone())), "failed:not_finite"),
    "minus infinity": (wav(np.where(tone() > 0.29, -np.inf, tone())), "failed:not_finite"),
    "denormals": (wav(np.full(RATE_HZ, 1e-42, np.float32)), "dropped:silence"),
    "constant": (wav(np.full(RATE_HZ, 0.5, np.float32)), "dropped:silence"),
    "tone on a constant": (wav(0.5 + tone()), OK),
    "clipped": (wav(np.clip(50 * tone(), -1, 1), subtype="PCM_16"), OK),
    "whole numbers as float": (wav(32767 * tone()), "failed:scale"),
    "vast numbers": (wav(np.full(RATE_HZ, 3e38, np.float32) * tone()), "failed:scale"),
    "silence": (wav(np.zeros(RATE_HZ, np.float32)), "dropped:silence"),
    "one sample": (wav(np.full(1, 0.5, np.float32)), "dropped:"),
    "a few samples": (wav(tone()[:200]), "dropped:too_short: 0.013 s"),
    "over the limit": (wav(np.tile(tone(), 70)), "failed:too_long: over 1 minutes"),
    "text": (b"this is not sound\n" * 100, "failed:decode: neither libsndfile"),
    "zeros": (bytes(5000), "failed:decode"),
    "noise": (np.random.default_rng(0).bytes(20000), "failed:decode"),
    "a page": (b"<!doctype html><title>404 Not Found</title>" * 50, "failed:decode"),
    "git's pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123\n", "failed:decode"),
    "zip": (b"PK\x03\x04" + bytes(500), "failed:decode"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(500), "failed:decode"),
    "program": (b"\x7fELF" + bytes(500), "failed:decode"),
    "pickle": (b"cos\nsystem\n(S'touch canary'\ntR.", "failed:decode"),
    "playlist": (b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/x.wav\n", "failed:decode"),
    "script of files": (b"ffconcat version 1.0\nfile '/etc/passwd'\n", "failed:decode"),
    "session description": (b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nt=0 0\nm=audio 9 RTP/AVP 0\n", "failed:decode"),
    "video": (good("video"), OK),
    "video without sound": (good("silent video"), "failed:decode: there is no audio stream"),
    "encrypted m4a": (scrambled(M4A).replace(b"mp4a", b"enca"), "failed:"),
    "protected m4a": (scrambled(M4A).replace(b"mp4a", b"drms"), "failed:"),
    "scrambled m4a": (scrambled(M4A), "failed:"),
    "ID3 tag of 256 MB": (b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + MP3, "failed:"),
    "ID3 tag of 1 MB": (b"ID3\x04\0\0\0\x40\0\0" + bytes(1 << 20) + MP3, OK),
    "ID3 tags in a row": (b"ID3\x04\0\0\0\0\0\0" * 1000 + MP3, ""),
    "two wavs in one": (WAV + WAV, "failed:truncated: its header tells of 128000 bytes of sound, but 128044 more"),
    "aac": (good("aac"), OK),
    "aac cut in a frame": (good("aac")[:-5], "failed:truncated: it ends inside of an AAC frame"),
    "aac of 30 s": (good("aac", seconds=30), OK),
}  # fmt: skip


@pytest.mark.parametrize("kind", SOUNDS)
def test_bad_sound_is_a_row_with_its_reason(tmp_path: Path, kind: str) -> None:
    data, reason = SOUNDS[kind]
    put(tmp_path, {"x.wav": data})
    (made,) = made_of(tmp_path, "folder")
    assert told(made).startswith(reason), told(made)
    if reason == OK and kind != "ID3 tags in a row":
        assert isinstance(made, Decoded), told(made)


@pytest.mark.parametrize("kind", SOUNDS)
@pytest.mark.parametrize("container", ["tar", "parquet"])
def test_bad_sound_in_an_archive_or_a_table_has_the_same_fate(tmp_path: Path, kind: str, container: str) -> None:
    data, reason = SOUNDS[kind]
    if container == "tar":
        put(tmp_path, {"x.tar": tar({"before.wav": WAV, "x.wav": data, "y.wav": WAV})})
        before, made, after = made_of(tmp_path, "webdataset")
    else:
        cells = [{"audio": {"bytes": sound, "path": "x.wav"}} for sound in (WAV, data, WAV)]
        put(tmp_path, {"x.parquet": parquet(cells, group=3)})
        before, made, after = made_of(tmp_path, "parquet")
    assert told(made).startswith(reason), told(made)
    assert isinstance(before, Decoded), "one bad recording costs itself alone"
    assert isinstance(after, Decoded)


def test_cut_between_two_frames_without_a_tag_is_found_where_the_corpus_tells_the_length(tmp_path: Path) -> None:
    whole = without_tag(MP3)
    data = whole[: frame_border(whole, 0.5)]
    put(tmp_path / "bare", {"x.mp3": data})
    (made,) = made_of(tmp_path / "bare", "folder")
    assert isinstance(made, Decoded), "nothing in the file tells that it was longer"
    put(tmp_path / "told", {"x.mp3": data, "t.jsonl": lines([{"file": "x.mp3", "duration": SECONDS}])})
    (made,) = made_of(tmp_path / "told", "folder")
    assert told(made).startswith("failed:truncated: should have 4.00 s, but 2.")


def test_variable_bitrate_without_a_tag_is_decoded_to_its_end(tmp_path: Path) -> None:
    """libsndfile takes the bitrate of the first frame for that of all, and stops too early or never gets there."""
    put(tmp_path, {"x.mp3": without_tag(MP3), "y.mp3": MP3})
    without, tagged = made_of(tmp_path, "folder")
    assert isinstance(without, Decoded)
    assert isinstance(tagged, Decoded)
    assert abs(len(without.wave_S) - len(tagged.wave_S)) < 0.15 * RATE_HZ


def test_extension_that_lies_does_not_matter(tmp_path: Path) -> None:
    put(tmp_path, {"flac.mp3": FLAC, "mp3.wav": MP3, "wav.m4a": WAV, "m4a.flac": M4A, "opus.aac": good("opus")})
    assert [told(made) for made in made_of(tmp_path, "folder")] == [OK] * 5


NAMES = {
    "letters": "日本語 é ñ.wav", "emoji": "👩\u200d🚀🎙.wav",
    "right to left": "\u202egpj.vaw.wav", "newline": "a\nb\r.wav",
    "quotes": "a'b\"c`$(id);&&.wav", "control": "a\x1b[31m\x07.wav", "long": "x" * 250 + ".wav", "dash": "-rf.wav",
    "spaces": "  .. a .wav", "percent": "%00%2e%2e%2f.wav", "container": "a.tar!", "cell": "b.parquet#0",
    "no letters": "\udcff\udcfe.wav", "pipe": "cat x |.wav", "protocol": "pipe:0.wav", "url": "http:.wav",
}  # fmt: skip


@pytest.mark.parametrize("kind", NAMES)
def test_name_of_any_kind_is_read_and_shown(tmp_path: Path, kind: str) -> None:
    name = NAMES[kind]
    folder = tmp_path / name if kind in ("container", "cell") else tmp_path
    folder.mkdir(exist_ok=True)
    (folder / (name if folder is tmp_path else "x.wav")).write_bytes(WAV)
    (made,) = made_of(tmp_path, "folder")
    assert told(made) == OK
    assert not any(ord(char) < 32 or char == "\u202e" for char in made.recording.name)


def samples(files: Mapping[str, bytes | str] | list[tuple[str, bytes | str]]) -> Files:
    return {"x.tar": tar(files)}


BLOCKS = 512 + -(-len(WAV) // 512) * 512
"""Bytes of a tar that holds WAV, without the blocks at its end."""
TABLE = "file\ttext\n"
LAYOUTS: dict[str, tuple[str, Files, list[str]]] = {
    "duplicate keys": ("webdataset", samples([("a.wav", WAV), ("a.wav", WAV)]), ["failed:duplicate"] * 2),
    "keys that differ in case": ("webdataset", samples([("A.wav", WAV), ("a.wav", WAV)]), [OK, OK]),
    "non-contiguous keys": (
        "webdataset", samples([("a.wav", WAV), ("b.wav", WAV), ("a.json", "{}")]), [OK, OK, "failed:non_contiguous"],
    ),
    "missing pair": ("webdataset", samples({"a.json": "{}", "b.wav": WAV}), ["failed:missing_pair", OK]),
    "empty text": ("webdataset", samples({"a.wav": WAV, "a.txt": ""}), [OK]),
    "1 MB text": ("webdataset", samples({"a.wav": WAV, "a.txt": "x" * (1 << 20)}), [OK]),
    "2 MB text": ("webdataset", samples({"a.wav": WAV, "a.txt": "x" * (2 << 20)}), ["failed:metadata"]),
    "control characters": ("webdataset", samples({"a.wav": WAV, "a.txt": "a\0b\x1b"}), [OK]),
    "emoji and right to left": ("webdataset", samples({"a.wav": WAV, "a.txt": "👩\u200d🚀 שלום"}), [OK]),
    "text that is not UTF-8": ("webdataset", samples({"a.wav": WAV, "a.txt": b"caf\xe9"}), [OK]),
    "json that is not UTF-8": (
        "webdataset", samples({"a.wav": WAV, "a.json": b'{"text": "\xe9"}'}), ["failed:metadata"],
    ),
    "name of 4 KB": ("webdataset", samples({"n" * 4000 + ".wav": WAV}), [OK]),
    "parent folder": ("webdataset", samples({"../a.wav": WAV}), ["failed:outside"]),
    "absolute path": ("webdataset", samples({"/etc/a.wav": WAV}), ["failed:outside"]),
    "archive in an archive": ("webdataset", samples({"a.tar": tar({"b.wav": WAV})}), ["failed:nested"]),
    "zero bytes": ("webdataset", {"x.tar": b""}, ["failed:archive: empty"]),
    "no end blocks": ("webdataset", {"x.tar": tar({"a.wav": WAV})[:BLOCKS]}, [OK]),
    "cut in a member": ("webdataset", {"x.tar": tar({"a.wav": WAV})[:2000]}, ["failed:cut", "failed:archive: cut"]),
    "table that leads out": ("folder", {"a.wav": WAV, "t.tsv": TABLE + "../b.wav\tx\n/etc/passwd\ty\n"}, [OK]),
    "file that is gone": ("folder", {"a.wav": WAV, "t.tsv": TABLE + "b.wav\tx\n"}, [OK, "failed:missing"]),
    "name with a NUL": ("folder", {"a.wav": WAV, "t.tsv": TABLE + "b\0.wav\tx\n"}, [OK]),
    "name of 5 KB in a table": ("folder", {"a.wav": WAV, "t.tsv": TABLE + "b" * 5000 + ".wav\tx\n"}, [OK]),
    "command": ("kaldi", {"wav.scp": "a cat /etc/passwd |\nb |sox x\n"}, ["failed:pipe", "failed:pipe"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", LAYOUTS)
def test_bad_layout_is_rows_with_their_reasons(tmp_path: Path, kind: str) -> None:
    reader, files, reasons = LAYOUTS[kind]
    put(tmp_path, files)
    found = [told(made) for made in made_of(tmp_path, reader)]
    assert len(found) == len(reasons), found
    assert all(one.startswith(other) and bool(one) == bool(other) for one, other in zip(found, reasons, strict=True)), (
        found
    )


def test_there_are_more_than_sixty_kinds() -> None:
    assert len(SOUNDS) + len(NAMES) + len(LAYOUTS) > 110


BOMBS = {
    "ID3": "failed:decode: libsndfile does not read it", "ID3 picture": "failed:", "wide": "failed:decode",
    "aac without a length": "failed:too_long", "gzip": "failed:archive: bomb: ", "zeros": "failed:decode",
    "json in a tar": "failed:metadata: its .json has 8589934592 bytes", "mp4 box": "failed:decode",
    "line": "refused: ", "name of a tar": "failed:archive: bomb: ", "pax header": "failed:archive: bomb: ",
    "silent flac": "failed:too_long", "silent flac in a table": "failed:too_long", "ten hours": "failed:too_long",
    "silent flac in a tar": "failed:too_long", "silent flac of unknown length": "failed:too_long",
    "silent flac that lies": "dropped:silence", "table": "failed:unreadable: bomb: ",
    "tar of zeros": "failed:archive: no sound file", "silent flac of 192 kHz": "dropped:silence",
}  # fmt: skip
BOMB_MB = 192
"""What any of them may take: ten minutes at 48 kHz, the limit that they are read with, are 115 MB."""


def test_bombs_take_no_more_memory_than_the_limit_of_a_recording(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "tests.pipelines.bombs", str(tmp_path / "root"), "400"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert set(found) == set(BOMBS)
    for kind, (reasons, megabytes) in found.items():
        assert [reason[: len(BOMBS[kind])] for reason in reasons] == [BOMBS[kind]], kind
        assert megabytes < BOMB_MB, f"{kind} took {megabytes:.0f} MB"
