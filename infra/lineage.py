"""MLflow, and the only file that imports it: a run per node, fed from a journal on disk that loses nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol


class Run(Protocol):
    """One run, written to its journal at once (microseconds) and shipped to MLflow when MLflow can be reached."""

    @property
    def id(self) -> str:
        """Our own id of the run (32 hex digits), also the tag `stipple.run` of the MLflow run."""

    @property
    def journal(self) -> Path:
        """The folder of the journal: another process (rank 0 of a training job) may append to its own file in it."""

    def params(self, params: Mapping[str, Any]) -> None: ...

    def tags(self, tags: Mapping[str, str]) -> None: ...

    def metrics(self, metrics: Mapping[str, float], *, step: int) -> None: ...

    def artifact(self, path: Path, *, folder: str = "") -> None:
        """A file or folder to show in MLflow: copied by the shipper, so it must outlive the node (lie in `out`)."""

    def input_dataset(self, *, name: str, digest: str, uri: str, role: str, facts: Mapping[str, Any]) -> None: ...

    def output_dataset(self, *, name: str, digest: str, uri: str, facts: Mapping[str, Any]) -> None: ...

    def input_model(self, *, run: str, role: str) -> None:
        """The model that `run` made was used here as `role`."""

    def output_model(self, *, name: str, uri: str, digest: str, step: int) -> None: ...
