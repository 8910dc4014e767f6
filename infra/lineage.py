"""MLflow, and the only file that imports it: a run per node, fed from a journal on disk that loses nothing.

Replay is idempotent: a run is found by its tag `stipple.run`, a metric point keeps the time at which it was measured
(MLflow stores equal points once), and `shipped-*.json` beside the journal says how far an MLflow has it.
"""

import contextlib
import getpass
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from infra.journal import DRIVER, About, about, read_from
from infra.log import hush
from infra.refusals import NotYet, RunRefused, metric_name, named, noting, reaching
from infra.shipping import Shipped, database_of, journals
from infra.storage import sync_folder
from infra.workflow.store import SET_ASIDE

MAX_KEYS = 60
"""Metric keys of a run that MLflow gets: its page draws a chart for each. The journal keeps all."""

SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "90",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""MLflow reads these from the environment alone. By default a call to a dead server blocks for minutes.

A server that takes a minute for each answer is waited for: only the shipper waits. MLflow itself asks nothing twice,
for what it asked may be done in the meantime; the shipper looks for it first.
"""


EXPERIMENT = {
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.note.content": "A run per node, below the run of its workflow; that one has the graph (lineage.html). "
    "`stipple lineage show NAME` prints the tree back to source files and licenses.",
}
"""Tags of every experiment: without the kind, MLflow's page opens as for chat applications."""


class Shipper:
    """Sends journals to one MLflow. Blocks on it, so it lives in a process of its own (infra.shipping)."""

    def __init__(self, store: Path, uri: str) -> None:
        self.store, self.uri = store, uri
        os.environ.update({key: value for key, value in SETTINGS.items() if key not in os.environ})
        hush("mlflow", "alembic", "sqlalchemy", "git", "urllib3")
        with self.database(), reaching():
            import mlflow
            from mlflow import MlflowClient

            mlflow.set_tracking_uri(uri)
            self.client = MlflowClient(uri)
            hush("mlflow", "alembic")
        self.experiments: dict[str, str] = {}
        self.rejected = ""
        """Why MLflow did not take a run, the last time that all were sent."""

    @contextlib.contextmanager
    def database(self) -> Iterator[None]:
        """A new sqlite database is filled meanwhile. MLflow does that in a hundred steps, and cannot go on where a full
        disk or a kill has stopped it: then it is begun anew. Whoever ships holds the lock of the database."""
        database = database_of(self.uri)
        if database is None:
            yield
            return
        database.parent.mkdir(parents=True, exist_ok=True)
        begun = database.with_name(f".{database.name}.begun")
        if begun.exists():
            for ending in ("-journal", "-wal", "-shm"):
                database.with_name(f"{database.name}{ending}").unlink(missing_ok=True)
            database.write_bytes(b"")  # the same file, which this process may hold open
        new = begun.exists() or not database.exists()
        if new:
            begun.touch()
            self.forget()
        yield
        if new:
            begun.unlink()
            sync_folder(database.parent)

    def forget(self) -> None:
        """Ship everything anew: to another database, or to one that was deleted."""
        for folder in journals(self.store).values():
            Shipped.read(folder, self.uri).path.unlink(missing_ok=True)

    def ship_all(self) -> int:
        """Ship what is new in every journal; how many journals still wait, for another run's model or since MLflow
        rejects them.

        Raises: Unreachable.
        """
        waiting, self.rejected = 0, ""
        for folder in journals(self.store).values():
            shipped = Shipped.read(folder, self.uri)
            if shipped.behind():
                try:
                    waiting += not self.ship(folder, shipped)
                except FileNotFoundError:  # set aside meanwhile: it is met again at its new place
                    waiting += 1
                except RunRefused as error:
                    waiting += 1
                    self.rejected = f"{folder.parent.parent.name}: {error}"
        return waiting

    def ship(self, folder: Path, shipped: Shipped) -> bool:
        """Ship what is new in one journal: other writers before the driver, whose last word ends the run."""
        known = about(folder)
        if known is None or known.id != shipped.of:  # set aside meanwhile
            return False
        with reaching():
            shipped.run = shipped.run or self.open_run(known, folder)
            names = sorted((path.name for path in folder.glob("*.jsonl")), key=lambda name: name == f"{DRIVER}.jsonl")
            parts = {name: read_from(folder / name, shipped.offsets.get(name, 0)) for name in reversed(names)}
            for name in names:
                records, end = parts[name]
                try:
                    self.send(records, name, shipped, known)
                except NotYet:
                    return False
                shipped.offsets[name] = end
                shipped.save()
        return True

    def open_run(self, known: About, folder: Path) -> str:
        """MLflow's id of our run: found by its tag, or made, below the run of its workflow."""
        experiment = self.experiment(known.experiment)
        found = self.runs_of(known)
        if found:
            return found[0]
        tags = {
            "stipple.run": known.id,
            "stipple.kind": known.kind,
            "mlflow.source.name": f"stipple {known.kind}",
            "mlflow.user": user(),
        }
        above = journals(self.store).get(known.parent or "")
        if above is not None:
            state = Shipped.read(above, self.uri)
            if not state.run:
                self.ship(above, state)
            tags["mlflow.parentRunId"] = state.run
        first = next(iter(read_from(folder / f"{DRIVER}.jsonl", 0)[0]), {})
        made = self.client.create_run(experiment, start_time=first.get("ms"), tags=tags, run_name=known.name)
        return str(made.info.run_id)

    def runs_of(self, known: About) -> list[str]:
        """MLflow's ids of our run: one, or more where an answer came so late that the run was asked for again."""
        tagged = f"tags.`stipple.run` = '{known.id}'"
        found = self.client.search_runs([self.experiment(known.experiment)], tagged, order_by=["attributes.run_id"])
        return [str(run.info.run_id) for run in found]

    def experiment(self, name: str) -> str:
        """The id of the experiment; local databases keep artifacts beside them."""
        if name not in self.experiments:
            found = self.client.get_experiment_by_name(name)
            database = database_of(self.uri)
            place = (database.parent / "mlartifacts" / name).as_uri() if database is not None else None
            made = found.experiment_id if found else self.client.create_experiment(name, place, EXPERIMENT)
            self.experiments[name] = str(made)
        return self.experiments[name]

    def send(self, records: list[dict[str, Any]], file: str, shipped: Shipped, known: About) -> None:
        """Records of one file, in order; curves in batches of 1000 points. What MLflow will not take is noted."""
        points = list(self.new_points(records, shipped, file))
        for start in range(0, len(points), 1000):
            with noting("metrics", shipped):
                self.client.log_batch(shipped.run, metrics=points[start : start + 1000])
        for record in records:
            if record["t"] != "metrics":
                with noting(record["t"], shipped):
                    self.send_one(record, shipped, known)

    def new_points(self, records: list[dict[str, Any]], shipped: Shipped, file: str) -> Iterator[Any]:
        """Points of curves that MLflow does not have: no redone steps, no more than MAX_KEYS keys."""
        from mlflow.entities import Metric

        last = shipped.last.setdefault(file, {})
        for record in records:
            if record["t"] != "metrics":
                continue
            for key, value in record["v"].items():
                if record["step"] <= last.get(key, -1) or (key not in last and keys_of(shipped) >= MAX_KEYS):
                    continue
                last[key] = record["step"]
                yield Metric(metric_name(key), value, record["ms"], record["step"])

    def send_one(self, record: dict[str, Any], shipped: Shipped, known: About) -> None:
        """Any record but a point of a curve."""
        run = shipped.run
        match record["t"]:
            case "start":
                if record["attempt"] > 1:
                    self.client.update_run(run, status="RUNNING")
                    if "stipple.ended" in self.client.get_run(run).data.tags:  # of the attempt before
                        self.client.delete_tag(run, "stipple.ended")
            case "end":
                self.client.set_terminated(run, record["status"], end_time=record["ms"])
                if record.get("reason"):
                    self.client.set_tag(run, "stipple.ended", record["reason"][:5000])
                for other in self.runs_of(known):
                    if other != run:
                        self.client.delete_run(other)
            case "params":
                self.send_params(record["v"], shipped)
            case "tags":
                for key, value in record["v"].items():
                    self.client.set_tag(run, key if key.startswith("mlflow.") else f"stipple.{key}", str(value)[:5000])
            case "artifact":
                path = artifact_in(shipped.path.parent.parent, Path(record["path"]))
                if path.is_dir():
                    self.client.log_artifacts(run, str(path), record["folder"] or path.name)
                elif path.is_file():
                    self.client.log_artifact(run, str(path), record["folder"] or None)
                else:
                    shipped.refused.append(f"artifact: {path} is gone")
            case "input_dataset" | "output_dataset":
                self.send_dataset(record, run)
            case "input_model":
                self.send_input_model(record, run)
            case "output_model":
                self.send_output_model(record, shipped, known)

    def send_params(self, values: Mapping[str, Any], shipped: Shipped) -> None:
        """Parameters never change in MLflow: what a later attempt says otherwise becomes a tag."""
        from mlflow.entities import Param

        new = []
        for key, value in values.items():
            text = (value if isinstance(value, str) else json.dumps(value, default=str))[:5999]
            if shipped.params.setdefault(key, text) == text:
                new.append(Param(named(key), text))
            else:
                self.client.set_tag(shipped.run, f"changed.{key}", text[:5000])
        for start in range(0, len(new), 100):
            self.client.log_batch(shipped.run, params=new[start : start + 100])

    def send_dataset(self, record: dict[str, Any], run: str) -> None:
        """A data set that was used, or made, with the first 32 digits of its digest (MLflow takes 36 at most)."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        source = json.dumps({"uri": record["uri"], "sha256": record["digest"]})
        profile = json.dumps(record["facts"], default=str)[:60_000]
        dataset = Dataset(record["name"], record["digest"][:32], "local", source, profile=profile)
        context = record.get("role", "made here")
        self.client.log_inputs(run, datasets=[DatasetInput(dataset, [InputTag("mlflow.data.context", context)])])

    def send_input_model(self, record: dict[str, Any], run: str) -> None:
        """The edge from a model to the run that used it."""
        from mlflow.entities import LoggedModelInput

        above = journals(self.store).get(record["run"])
        if above is None:
            self.client.set_tag(run, f"stipple.model.{record['role']}", f"run {record['run']}, not in this store")
            return
        state = Shipped.read(above, self.uri)
        if state.behind() and not state.model:
            self.ship(above, state)
        if not state.model:
            raise NotYet
        self.client.log_inputs(run, models=[LoggedModelInput(state.model)])
        self.client.set_tag(run, f"stipple.model.{record['role']}", state.model)

    def send_output_model(self, record: dict[str, Any], shipped: Shipped, known: About) -> None:
        """A logged model, and the edge to it from the run that made it; its files stay in the store."""
        from mlflow.entities import LoggedModelOutput, LoggedModelStatus

        experiment = self.experiment(known.experiment)
        tagged = f"tags.`stipple.digest` = '{record['digest']}' AND source_run_id = '{shipped.run}'"
        found = self.client.search_logged_models([experiment], tagged)
        if found:
            model = min(found, key=lambda model: str(model.model_id))
            for other in found:
                if other is not model:
                    self.client.delete_logged_model(other.model_id)
        else:
            tags = {"stipple.run": known.id, "stipple.uri": record["uri"], "stipple.digest": record["digest"]}
            model = self.client.create_logged_model(
                experiment, record["name"], shipped.run, tags, dict(shipped.params), model_type="stipple bundle"
            )
            self.client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        shipped.model = str(model.model_id)
        edges = self.client.get_run(shipped.run).outputs.model_outputs
        if all(edge.model_id != shipped.model for edge in edges):  # MLflow fails where there is one
            self.client.log_outputs(shipped.run, models=[LoggedModelOutput(shipped.model, record["step"])])


def artifact_in(slot: Path, path: Path) -> Path:
    """Where a path lies that the journal of a slot names: in the slot, also where that was set aside since, and another
    artifact has its place."""
    began = slot.with_name(slot.name.partition(SET_ASIDE)[0])
    return slot / path.relative_to(began) if path.is_relative_to(began) else path


def keys_of(shipped: Shipped) -> int:
    """How many metric keys of a run MLflow has."""
    return len({key for keys in shipped.last.values() for key in keys})


def user() -> str:
    """Who runs this; a number where the machine (a container) knows no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
