"""A real MLflow server on loopback for the tests, what it has of a run, and a slow or broken way to it."""

import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from infra.journal import About, JournalRun
from infra.shipping import Shipped


def journal_of(store: Path, name: str = "train", **more: Any) -> JournalRun:
    """A run as the engine begins it."""
    about = About(more.pop("run", name.ljust(32, "0")), name, more.pop("experiment", "toys"), "train", **more)
    run = JournalRun(store / name / "0123456789abcdef" / "journal", about)
    run.start(attempt=1)
    return run


def client(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(uri)


def points(uri: str, run: str, key: str) -> list[tuple[int, float]]:
    """The curve of our run in MLflow."""
    api = client(uri)
    found = api.search_runs([e.experiment_id for e in api.search_experiments()], f"tags.`stipple.run` = '{run}'")
    assert len(found) == 1
    return [(point.step, point.value) for point in api.get_metric_history(found[0].info.run_id, key)]


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serve(port: int, database: str, folder: Path) -> subprocess.Popen[bytes]:
    """A real MLflow server on the loopback interface, in one process; returns once it answers."""
    import urllib.request

    code = (
        "import os, sys; os.environ.update({'_MLFLOW_SERVER_FILE_STORE': sys.argv[1], "
        "'_MLFLOW_SERVER_ARTIFACT_ROOT': sys.argv[2], 'MLFLOW_DISABLE_TELEMETRY': 'true'}); "
        "from werkzeug.serving import run_simple; from mlflow.server import app; "
        "run_simple('127.0.0.1', int(sys.argv[3]), app, threaded=True)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, database, str(folder / "artifacts"), str(port)],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                return process
        except OSError:
            assert time.monotonic() < deadline, "the MLflow server did not come up"
            time.sleep(0.2)


def shipped_bytes(journal: Path, uri: str, *, above: int) -> int:
    """Wait until MLflow has more than `above` bytes of the driver's journal."""
    deadline = time.monotonic() + 300
    while (now := Shipped.read(journal, uri).offsets.get("driver.jsonl", 0)) <= above:
        assert time.monotonic() < deadline, "nothing arrived"
        time.sleep(0.2)
    return now


class Way:
    """A port that leads to the server's: at once, or only after `delay` seconds for each piece of a request, or not at
    all. What a client sent arrives even where that client has given up meanwhile, as at a slow server."""

    def __init__(self, to: int) -> None:
        self.to, self.port, self.delay = to, free_port(), 0.0
        self.open: list[socket.socket] = []
        self.listener: socket.socket | None = None

    def start(self) -> None:
        """Lead there (again)."""
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def stop(self) -> None:
        """Lead nowhere: who asks is refused, and who waits for an answer gets none."""
        assert self.listener is not None
        for one in (self.listener, *self.open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self.open.clear()

    def accept(self, listener: socket.socket) -> None:
        """A pair of threads a connection."""
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self.to))
                self.open += [client, server]
                for source, goal, slow in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self.carry, args=(source, goal), kwargs={"slow": slow}, daemon=True).start()

    def carry(self, source: socket.socket, goal: socket.socket, *, slow: bool) -> None:
        """Bytes from one to the other until either ends."""
        with suppress(OSError):
            while data := source.recv(2**16):
                if slow and self.delay:
                    time.sleep(self.delay)
                goal.sendall(data)
            goal.shutdown(socket.SHUT_WR)
