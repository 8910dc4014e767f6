"""What evaluations have made, kept on the disk under what decides it, and read back one utterance at a time.

So an evaluation that was killed goes on where it stopped, another judge hears what was spoken for the one before, and
memory does not grow with a list.
"""

import hashlib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, overload

import numpy as np

from infra.manifest import digest
from infra.storage import replacing
from infra.workflow.fingerprint import VERSIONS, code_of, minor
from infra.workflow.node import Job, Refused
from infra.workflow.store import SET_ASIDE
from pipelines.evaluation.metrics import Utterance
from pipelines.policy.tombstones import store_of

FOLDER = "made"
"""Of a job's work folder."""
MAKERS = ("models", "pipelines/evaluation/reconstruction.py", "pipelines/evaluation/speech.py")
"""Whose code decides what is made."""
JUDGES = "models/frozen/"
"""Whose code, in the same folders, does not: it only judges."""

Asked = Callable[[], Utterance]
"""An utterance that is to be made, with what it is held against, read anew by every call."""
Make = Callable[[Utterance], Utterance]
Tell = Callable[[int, Utterance, bool], None]
"""Is told of every utterance: its number from 1 on, itself, and whether it was made before."""


class Utterances(Sequence[Utterance]):
    """Utterances whose sound is read when they are asked for, and kept by nobody."""

    def __init__(self, reads: Sequence[Asked]) -> None:
        self.reads = reads

    @overload
    def __getitem__(self, number: int) -> Utterance: ...
    @overload
    def __getitem__(self, number: slice) -> "Utterances": ...
    def __getitem__(self, number: int | slice) -> "Utterance | Utterances":
        return Utterances(self.reads[number]) if isinstance(number, slice) else self.reads[number]()

    def __len__(self) -> int:
        return len(self.reads)


@dataclass(frozen=True)
class Shelf:
    """Where one bundle's utterances lie."""

    folder: Path
    """Where new ones are written."""
    facts: Mapping[str, Any]
    """What decides all of them: the bundle, and the code and the libraries that make sound with it."""
    known: dict[str, Path] = field(default_factory=dict)
    """Name -> file of all that was made before, by any evaluation of the store."""

    def made(self, asked: Sequence[Asked], make: Make, *, by: Mapping[str, Any], tell: Tell) -> Utterances:
        """Every utterance, made or found. `by`: what decides them beside the shelf's own facts, such as the sampler."""
        maker = digest([dict(self.facts), dict(by)])
        reads = []
        for number, ask in enumerate(asked, start=1):
            wanting = ask()
            name = name_of(wanting, maker=maker)
            path = self.known.get(name, self.folder / name)
            found, before = recall(path, wanting), True
            if found is None:
                path, before = self.folder / name, False
                found = wanting if wanting.problem else make(wanting)
                keep(path, found)
            tell(number, found, before)
            reads.append(partial(read_back, ask, path, found.problem))
        return Utterances(reads)


def shelf_of(job: Job) -> Shelf:
    """The shelf of a job's bundle. What was set aside, to be made again, is not found."""
    own, store = job.work / FOLDER, store_of(job.out)
    others = [] if store is None else sorted(store.glob(f"*/*/work/{FOLDER}"))
    folders = [*(place for place in others if SET_ASIDE not in place.parts[-3]), own]
    code = {name: value for name, value in code_of(MAKERS).items() if not name.startswith(JUDGES)}
    facts = {
        "bundle": job.inputs["bundle"].digest,
        "code": code,
        "versions": {name: minor(name) for name in VERSIONS["eval"]},
    }
    return Shelf(own, facts, {path.name: path for folder in folders for path in folder.glob("*.npz")})


def name_of(wanting: Utterance, *, maker: str) -> str:
    """The name of a file: all that decides what is in it."""
    against = b"" if wanting.against_S is None else wanting.against_S.tobytes()
    about = (wanting.key, wanting.text, wanting.language, wanting.against_text, wanting.against_rate_hz)
    return f"{digest([maker, *about, hashlib.sha256(against).hexdigest()])[:32]}.npz"


def keep(path: Path, utterance: Utterance) -> None:
    """Write down what was made; what could not be made is tried again."""
    if utterance.wave_S is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as stream:
        np.savez(
            stream,
            wave_S=utterance.wave_S,
            rate_hz=utterance.rate_hz,
            finish=utterance.finish or "",
            making_seconds=np.nan if utterance.making_seconds is None else utterance.making_seconds,
        )


def recall(path: Path, wanting: Utterance) -> Utterance | None:
    """The utterance with what was made of it, if that is there and whole."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
            seconds = float(found["making_seconds"])
            return replace(
                wanting,
                wave_S=found["wave_S"],
                rate_hz=int(found["rate_hz"]),
                finish=str(found["finish"]) or None,
                making_seconds=None if np.isnan(seconds) else seconds,
            )
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def read_back(ask: Asked, path: Path, problem: str | None) -> Utterance:
    """An utterance that was made, or could not be.

    Raises: Refused where its file is gone meanwhile.
    """
    wanting = ask()
    found = replace(wanting, problem=problem) if problem else recall(path, wanting)
    if found is None:
        raise Refused(f"{path}: what was made for this evaluation is gone or torn; run the same command again")
    return found
