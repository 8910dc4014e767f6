"""A file that changed since it was cataloged, or while it is read, is refused: the hash is that of the samples."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pipelines.clip import Decoded, Unusable
from pipelines.row import Recording
from pipelines.transforms.probe import Config, Transform

NOISE = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)


def test_file_that_changed_since_it_was_cataloged_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", NOISE, 16000)
    recording = Recording(uri=str(tmp_path / "x.wav"), name="x.wav", bytes=0, sha256="0" * 64)
    found = Transform(Config())([recording])[0]
    assert isinstance(found, Unusable)
    assert found.reason.startswith("failed:changed")


@pytest.mark.parametrize("how", ["in place", "renamed over"])
def test_file_that_is_written_while_it_is_read_is_refused(tmp_path: Path, how: str) -> None:
    path, other = tmp_path / "x.wav", tmp_path / "y.wav"
    soundfile.write(path, NOISE, 16000)
    soundfile.write(other, 0.5 * NOISE, 16000)

    class Between(Transform):
        """Another process writes after the hash is taken."""

        def read(self, *args: Any, **facts: Any) -> Any:
            os.utime(path, ns=(1, 1))
            if how == "in place":
                path.write_bytes(other.read_bytes())
            else:
                other.replace(path)
            return super().read(*args, **facts)

    recording = Recording(uri=str(path), name="x.wav", bytes=path.stat().st_size)
    found = Between(Config())([recording])[0]
    assert isinstance(found, Unusable), "the hash would be of other bytes than the samples"
    assert found.reason.startswith("failed:changed: its file was written while it was read")
    assert found.seconds == pytest.approx(1.0)


def test_intervals_of_a_file_that_is_written_between_them_have_the_hash_of_what_was_read(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    probing, hashes = Transform(Config()), []
    for number, level in enumerate((1.0, 0.5)):
        soundfile.write(path, level * NOISE, 16000)
        os.utime(path, ns=(number, number))
        size = path.stat().st_size
        recording = Recording(uri=str(path), name="x.wav", bytes=size, start_seconds=0.0, end_seconds=0.5)
        found = probing([recording])[0]
        assert isinstance(found, Decoded)
        hashes.append(found.recording.sha256)
        assert found.recording.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert hashes[0] != hashes[1]


def test_file_of_another_size_than_was_cataloged_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", NOISE, 16000)
    recording = Recording(uri=str(tmp_path / "x.wav"), name="x.wav", bytes=1)
    found = Transform(Config())([recording])[0]
    assert isinstance(found, Unusable)
    assert found.reason == "failed:changed: it has 32044 bytes, but 1 were cataloged"
    assert isinstance(Transform(Config())([replace(recording, bytes=0)])[0], Decoded), "nobody knew its size"
