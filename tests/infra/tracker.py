"""A real MLflow server on loopback for the tests, what it has of a run, and a slow or broken way to it."""

import random
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from infra.journal import About, JournalRun
from infra.shipping import Shipped, Shipping
from tests.processes import end, until

Popen = Callable[..., "subprocess.Popen[bytes]"]
"""The fixture `popen`."""


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
    """A port that nothing listens on, and that the system gives to nobody who takes any: those begin at 32768."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def leave(shipping: Shipping) -> None:
    """Leave no shipper behind."""
    if shipping.process is not None:
        end(shipping.process)


def assert_not_slowed(took: list[float]) -> None:
    """Of calls that each told a run of a step, in seconds. A call to MLflow takes 0.3 s, and one to a tracker that is
    silent minutes; on a busy machine, any one call may be put off by other processes."""
    assert len(took) > 50
    assert statistics.median(took) < 0.005
    assert max(took) < 10


def serve(port: int, database: str, folder: Path, *, popen: Popen) -> "subprocess.Popen[bytes]":
    """A real MLflow server on the loopback interface, in one process; returns once it answers."""
    import urllib.request

    code = (
        "import os, sys; os.environ.update({'_MLFLOW_SERVER_FILE_STORE': sys.argv[1], "
        "'_MLFLOW_SERVER_ARTIFACT_ROOT': sys.argv[2], 'MLFLOW_DISABLE_TELEMETRY': 'true'}); "
        "from werkzeug.serving import run_simple; from mlflow.server import app; "
        "run_simple('127.0.0.1', int(sys.argv[3]), app, threaded=True)"
    )
    said = folder / "server.txt"
    with said.open("ab") as log:
        words = [sys.executable, "-c", code, database, str(folder / "artifacts"), str(port)]
        process = popen(words, cwd=folder, stdout=log, stderr=log)

    def healthy() -> bool:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10):
            return True
        return False

    until(healthy, what=f"MLflow's server to answer; it says: {said}", process=process)
    return process


def shipped_bytes(journal: Path, uri: str, *, above: int) -> int:
    """Wait until MLflow has more than `above` bytes of the driver's journal."""

    def arrived() -> int:
        return Shipped.read(journal, uri).offsets.get("driver.jsonl", 0)

    until(lambda: arrived() > above, what="records to arrive in MLflow")
    return arrived()


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
