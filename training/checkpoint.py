"""Resumable state on disk: whole or not there at all.

    <folder>/step-00000012/<player>/...      files of each rank, written under another name, synced, renamed
    <folder>/step-00000012/done-0.json       last of all, per rank: world size, and size and sha256 of its files
A checkpoint counts when every rank's `done` is there and every file has its digest; otherwise the one before it
counts. What is saved is copied at once, and written by a thread while training goes on.
Precedence of weights at the start of a stage: 1 this stage's newest whole checkpoint, 2 `start_from` (weights only),
3 seeded random.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from infra.storage import named, sync_folder

PREFIX = "step-"


class CheckpointError(RuntimeError):
    """State that cannot be continued. The message is a sentence for a person."""


@dataclass
class HashingFile:
    """A file that hashes what is written to it, for writers that only append."""

    file: IO[bytes]
    state: Any = field(default_factory=hashlib.sha256)
    size: int = 0

    def write(self, data: bytes) -> int:
        self.state.update(data)
        self.size += len(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


@dataclass
class CheckpointWriter:
    """Writes one rank's part of one checkpoint."""

    folder: Path
    """The checkpoints of the stage."""
    step: int
    rank: int
    world: int
    guard: Callable[[], None] = lambda: None
    """Called before anything is written and before it counts; raises when this worker must not write any more."""
    engine: str = ""
    """Which engine's files these are."""
    states: dict[str, Any] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """Folder of this checkpoint."""
        return self.folder / f"{PREFIX}{self.step:08d}"

    def save(self, name: str, state: Any) -> None:
        """Take a copy of `state`, to be written as file `name` of this checkpoint."""
        self.states[name] = copied(state, {})

    def write(self) -> None:
        """Write all that was saved, each file whole or not at all, and then that this rank's part is whole."""
        for name in list(self.states):
            self._write(name, self.states.pop(name))
        self.done()

    def _write(self, name: str, state: Any) -> None:
        self.guard()
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{self.rank}.tmp")
        with named(path), draft.open("wb") as file:
            hashing = HashingFile(file)
            torch.save(state, hashing)  # type: ignore[arg-type]  # only `write` is used
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        self.files[name] = {"bytes": hashing.size, "sha256": hashing.state.hexdigest()}

    def done(self) -> None:
        """Say that this rank's part is whole."""
        self.guard()
        facts = {"step": self.step, "world": self.world, "engine": self.engine, "files": self.files}
        self.root.mkdir(parents=True, exist_ok=True)
        draft = self.root / f"done-{self.rank}.json.tmp"
        with named(self.root), draft.open("w", encoding="utf-8") as file:
            json.dump(facts, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.root / f"done-{self.rank}.json")
        for folder in (*{(self.root / name).parent for name in self.files}, self.root, self.folder):
            sync_folder(folder)


def copied(state: Any, seen: dict[tuple[Any, ...], Tensor]) -> Any:
    """A copy of nested state in the memory of this machine, for what training goes on to change; tensors that are the
    same stay the same."""
    if isinstance(state, Tensor):
        place = (state.data_ptr(), state.dtype, tuple(state.shape), state.stride(), state.device)
        if state.numel() == 0 or place not in seen:
            seen[place] = state.detach().to("cpu", copy=True)
        return seen[place]
    if isinstance(state, dict):
        return type(state)((key, copied(value, seen)) for key, value in state.items())
    if type(state) in (list, tuple):
        return type(state)(copied(value, seen) for value in state)
    return state


class Background:
    """Writes one checkpoint at a time while training goes on. What went wrong is raised at the next call."""

    def __init__(self) -> None:
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self.writing: Future[None] | None = None

    def start(self, work: Callable[[], None]) -> None:
        """Do `work` behind, after what was started before it."""
        self.finish()
        self.writing = self.thread.submit(work)

    def finish(self) -> None:
        """Wait until all is written."""
        if self.writing is not None:
            writing, self.writing = self.writing, None
            writing.result()


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint."""

    root: Path
    step: int
    world: int
    engine: str = ""
    names: frozenset[str] = frozenset()

    def has(self, name: str) -> bool:
        """Is there a file of this name?"""
        return name in self.names

    def load(self, name: str) -> Any:
        """What `CheckpointWriter.save` took as `name`. Our own files, whose digests were checked."""
        return torch.load(self.root / name, map_location="cpu", weights_only=False)


def folders(folder: Path) -> list[Path]:
    """Checkpoints in a folder, whole or torn, newest first. What else lies there is a person's, such as copies."""
    found = (path for path in folder.glob(f"{PREFIX}*") if path.name.removeprefix(PREFIX).isdecimal() and path.is_dir())
    return sorted(found, key=lambda path: int(path.name.removeprefix(PREFIX)), reverse=True)


def opened(root: Path) -> Checkpoint | str:
    """The checkpoint in `root`, or why it is not whole."""
    try:
        world = int(json.loads((root / "done-0.json").read_text())["world"])
        parts = [json.loads((root / f"done-{rank}.json").read_text()) for rank in range(world)]
    except FileNotFoundError as error:
        return f"{Path(str(error.filename)).name} is missing"
    except (ValueError, KeyError, TypeError):
        return "its list of files cannot be read"
    for part in parts:
        for name, facts in part["files"].items():
            found = file_facts(root / name)
            if found != facts:
                return f"{name} is {'missing' if found is None else 'not what was written'}"
    names = frozenset(name for part in parts for name in part["files"])
    return Checkpoint(root, int(parts[0]["step"]), world, str(parts[0].get("engine", "")), names)


def file_facts(path: Path) -> dict[str, Any] | None:
    """Size and sha256 of a file; None where there is none."""
    try:
        with named(path), path.open("rb") as file:
            state = hashlib.file_digest(file, "sha256")
            return {"bytes": file.tell(), "sha256": state.hexdigest()}
    except FileNotFoundError:
        return None


def newest(folder: Path, *, say: Callable[[str], None] = lambda line: None) -> Checkpoint | None:
    """The newest whole checkpoint; what is torn is named and passed over. A stage at work may remove some meanwhile,
    and finish others."""
    torn = set[Path]()
    while left := [root for root in folders(folder) if root not in torn]:
        found = opened(left[0])
        if isinstance(found, Checkpoint):
            return found
        if left[0].exists():
            say(f"checkpoint {left[0].name} is not whole ({found}); looking at the one before it")
            torn.add(left[0])
        else:
            torn.clear()
    return None


def discard_after(folder: Path, *, step: int) -> None:
    """Remove what lies beyond the checkpoint that is continued from: torn, or of a life that is not continued."""
    for root in folders(folder):
        if int(root.name.removeprefix(PREFIX)) > step:
            shutil.rmtree(root)


def prune(folder: Path, *, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints that every rank has finished; what is being written stays."""
    whole = 0
    for root in folders(folder):
        if whole >= keep:
            shutil.rmtree(root)
        elif finished(root):
            whole += 1


def finished(root: Path) -> bool:
    """Has every rank said that its part is whole? Digests are not looked at."""
    try:
        world = int(json.loads((root / "done-0.json").read_text())["world"])
    except (FileNotFoundError, ValueError, KeyError):
        return False
    return all((root / f"done-{rank}.json").exists() for rank in range(world))
