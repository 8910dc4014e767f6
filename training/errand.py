"""What the workers of a stage are told, and the files by which driver and workers speak to each other."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.manifest import parse
from infra.workflow.node import Refused
from infra.workflow.store import Store
from pipelines.shards import CorpusError
from training.data.replaced import refuse_replaced
from training.manifest import StageManifest

ERRAND = "errand.json"


class Superseded(RuntimeError):  # noqa: N818 - reads as what happened
    """Another attempt of this stage has started: this worker must not write any more."""


@dataclass(frozen=True)
class Errand:
    """What a worker is told: plain data, so that it can be sent to another machine."""

    manifest: StageManifest
    folders: Mapping[str, str]
    """Role -> folder of a corpus."""
    start_from: str | None
    """Folder of a bundle."""
    work: str
    """Kept between attempts: checkpoints and losses."""
    out: str
    """Where the bundle goes."""
    token: str
    """The attempt. Checkpoints are written only while `work/attempt` says the same."""
    journal: str | None = None
    card: Mapping[str, Any] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    """Role -> what the corpus in its folder must say of itself."""

    def to_dict(self) -> dict[str, Any]:
        """For Ray Train's `train_loop_config`."""
        return {**self.__dict__, "manifest": self.manifest.model_dump(mode="json")}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Errand":
        """What `to_dict` gave."""
        return cls(**{**data, "manifest": parse(StageManifest, data["manifest"], where="the manifest of the stage")})

    @classmethod
    def of(cls, work: Path) -> "Errand":
        """What the workers of the stage with this work folder were told, also where its store was moved since.

        Raises: Refused where a corpus is gone, or another one lies in its place.
        """
        data = json.loads((work / ERRAND).read_text())
        store = Store(work.resolve().parents[2])
        folders = {role: store.found(folder) for role, folder in data["folders"].items()}
        for role, folder in folders.items():
            if not Path(folder).is_dir():
                raise Refused(f"{folder}: the corpus that this stage hears as {role!r} is not there any more")
        try:
            refuse_replaced(folders, digests=data.get("digests", {}))
        except CorpusError as error:
            raise Refused(str(error)) from None
        start = data["start_from"] and store.found(data["start_from"])
        return cls.from_dict({**data, "folders": folders, "start_from": start})

    def still_ours(self) -> None:
        """Raises: Superseded."""
        if (Path(self.work) / "attempt").read_text() != self.token:
            raise Superseded("another attempt of this stage has started")
