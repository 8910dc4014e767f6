"""What a kind of node is, and what it is given: the contract between the workflow and those who do the work."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from infra.manifest import Manifest

if TYPE_CHECKING:
    from infra.journal import JournalRun

KINDS = {
    "recordings": "pipelines.recordings",
    "corpus": "pipelines.build",
    "train": "training.launch",
    "eval": "pipelines.evaluation.run",
}
"""Kind of node -> the module that does it. By name, so that infra imports nothing above it."""

STOP = "stop"
"""A file in a job's work folder that asks it to save what it has, and to end with KeyboardInterrupt."""


@dataclass(frozen=True)
class Made:
    """A committed artifact: a folder that will not change, and what is known of it (COMMIT.json)."""

    kind: str
    name: str
    out: Path
    digest: str
    fingerprint: str
    run: str
    summary: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """What a node is given to run: what to do, what to read, where to write, whom to tell."""

    name: str
    manifest: Manifest
    inputs: Mapping[str, Made]
    """Role -> artifact. Roles are the kind's own words: `recordings`, `data`, `start_from`, `bundle`."""
    out: Path
    """Empty at the start of every attempt; becomes the artifact when the node commits."""
    work: Path
    """Kept between attempts: ledgers, checkpoints, spools. Removed by nobody but the store's own clean-up."""
    run: "JournalRun"
    connect: Callable[[], None]
    """Starts or joins Ray on first call; call it only when there is work to do."""
    attempt: int
    say: Callable[[str], None]
    """One line of progress for the person who watches (stderr), prefixed with the node's name."""


@dataclass(frozen=True)
class Outcome:
    """What a node says of what it made: the digest of its content, and the few facts worth a line."""

    digest: str
    summary: Mapping[str, Any] = field(default_factory=dict)


class Kind(Protocol):
    """The names that a module in KINDS exposes. One whose jobs look for STOP also says `HALTS = True`; one whose inputs
    can contradict its manifest has `misfits(manifest, inputs)`: role -> the manifest it is made by, to sentences."""

    MANIFEST: type[Manifest]
    ROLES: Mapping[str, bool]
    """Role -> is it required? One that ends with `*` stands for all that begin so, and is never required."""
    CODE: tuple[str, ...]
    """Folders and files, from the root, whose source is part of the fingerprint."""

    def identity(self, manifest: Manifest) -> Mapping[str, Any]:
        """What of the manifest decides the bytes of the artifact (paths, worker counts and logging do not)."""

    def run(self, job: Job) -> Outcome:
        """Do it. Raise `Refused` (infra.workflow.node) for a person's mistake: a sentence, not a traceback."""


class Refused(Exception):  # noqa: N818 - reads as what happened
    """The node cannot be done as asked. The message is a sentence for a person: what is wrong, and what to do."""
