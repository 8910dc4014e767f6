"""A process that writes shards is killed at every write, flush and rename: what is visible is whole, always."""

import io
import multiprocessing
import os
import pathlib
import signal
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.packing.verify import verify
from pipelines.shards import CorpusError, open_corpus
from tests.pipelines.packable import build, files, items
from tests.processes import exit_code

SAMPLES, SOFT_BYTES = 3, 70_000


class Killer:
    """Counts what a process does to the disk, and kills the process at the number that it was given."""

    def __init__(self, at: int) -> None:
        self.at, self.count = at, 0

    def step(self, half: Callable[[], object] = lambda: None) -> None:
        """One call; the fatal one does only `half` of its work."""
        self.count += 1
        if self.count == self.at:
            half()
            os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        """Stand in front of all calls that write."""
        for module, name in ((os, "fsync"), (os, "replace"), (os, "unlink"), (os, "rmdir")):
            setattr(module, name, self.before(getattr(module, name)))
        pathlib.Path.replace = self.before(pathlib.Path.replace)  # type: ignore[assignment]
        pathlib.Path.unlink = self.before(pathlib.Path.unlink)  # type: ignore[assignment]
        plain_open, plain_fdopen = io.open, os.fdopen
        io.open = lambda at, mode="r", *a, **k: self.wrapped(plain_open(at, mode, *a, **k), at, mode)  # type: ignore
        os.fdopen = lambda at, mode="r", *a, **k: self.wrapped(plain_fdopen(at, mode, *a, **k), at, mode)  # type: ignore

    def before(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def fatal(*words: Any, **named: Any) -> Any:
            self.step()
            return call(*words, **named)

        return fatal

    def wrapped(self, file: Any, place: Any, mode: str) -> Any:
        """Parquet files are written column by column, in hundreds of calls: every 96th of them counts."""
        every = 96 if ".parquet." in str(place) else 1
        return Halves(file, self, every) if "w" in mode and "b" in mode else file


class Halves:
    """A file whose writes reach the disk at once, and whose fatal write reaches it by half."""

    def __init__(self, file: Any, killer: Killer, every: int) -> None:
        self.file, self.killer, self.every, self.calls = file, killer, every, 0

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")

        def half() -> None:
            self.file.write(view[: len(view) // 2])
            self.file.flush()

        self.calls += 1
        if self.calls % self.every == 0:
            self.killer.step(half)
        self.file.write(view)
        self.file.flush()
        return len(view)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __enter__(self) -> "Halves":
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()


def write_and_die(root: Path, samples: int, at: int) -> None:
    """The child: make the corpus, up to call `at`."""
    made = items(root.parent, samples)
    Killer(at).install()
    build(root, made, soft_bytes=SOFT_BYTES)


def died(root: Path, *, at: int, samples: int = SAMPLES) -> bool:
    """Let a process make the corpus and be killed at call `at`; False where it came to its end before."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "pyarrow.parquet", "soundfile"])
    child = context.Process(target=write_and_die, args=(root, samples, at))
    child.start()
    assert exit_code(child) in (0, -signal.SIGKILL), f"call {at}: the writer ended with {child.exitcode}"
    return child.exitcode != 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    build(folder / "toy", items(folder, SAMPLES), soft_bytes=SOFT_BYTES)
    return files(folder / "toy")


def test_writer_killed_at_every_call_shows_nothing_or_whole_shards(tmp_path: Path, whole: dict[str, bytes]) -> None:
    at = 0
    while True:
        at += 1
        root = tmp_path / f"{at}" / "toy"
        root.parent.mkdir()
        if not died(root, at=at):
            break
        for path in root.rglob("*.tar"):
            name = path.relative_to(root).as_posix()
            assert path.read_bytes() == whole[name], f"call {at}: {name} is visible and not whole"
            with tarfile.open(path) as tar:
                offsets = [member.offset for member in tar.getmembers()[::2]]
            assert np.fromfile(f"{path}.idx", dtype="<u8").tolist() == [*offsets, path.stat().st_size - 1024]
        if (root / "corpus.json").exists():
            assert {name: data for name, data in files(root).items() if not name.startswith("parts/")} == whole
            assert verify(root) == []
        else:
            with pytest.raises(CorpusError):
                open_corpus(root)
        build(root, items(root.parent, SAMPLES), soft_bytes=SOFT_BYTES)
        assert files(root) == whole, f"call {at}: the next build gives other bytes, or leaves something behind"
    assert at > 60, "the calls that write were not met"
    assert files(root) == whole


def test_rebuilding_another_corpus_in_the_folder_shows_the_old_one_or_none_or_the_new_one(tmp_path: Path) -> None:
    made = items(tmp_path, 6)
    build(tmp_path / "old", made[:3], soft_bytes=SOFT_BYTES)
    build(tmp_path / "new", made, soft_bytes=SOFT_BYTES)
    old, new = files(tmp_path / "old"), files(tmp_path / "new")
    for at in (1, 9, 25, 33, 47, 60, 75):
        root = tmp_path / f"at{at}"
        build(root, made[:3], soft_bytes=SOFT_BYTES)
        died(root, at=at, samples=6)
        now = files(root)
        if "corpus.json" in now:
            expected = old if now["corpus.json"] == old["corpus.json"] else new
            assert {name: now[name] for name in expected} == expected
        build(root, made, soft_bytes=SOFT_BYTES)
        assert files(root) == new
