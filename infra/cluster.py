"""The machines: what a cluster manifest says, and the one place where Ray is started or joined."""

import contextlib
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from pydantic import Field, field_validator

from infra.log import clock, hush, say
from infra.manifest import Manifest
from infra.mistakes import last_line
from infra.scratch import scratch
from infra.storage import ROOT, require_free
from infra.workflow.node import Refused

INSIDE_A_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set by Ray where the driver itself is a submitted job: its runtime environment is then already there."""

TOKEN = "RAY_AUTH_MODE"
"""Where it is not set, Ray sends a token to the cluster of this machine once a local Ray has left one there."""

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
}
"""Ray reads these from the environment alone. The health check paces `ray.train.report` (2 s by default)."""

SESSION_MB = 64
"""Free, where a local Ray lies: with less it waits half a minute for its own servers, and tells nothing of the disk."""

T = TypeVar("T")

SHIPPED = ("infra", "models", "pipelines", "training", "manifests")
"""What a joined cluster is given of this checkout."""


class ClusterManifest(Manifest):
    """Where it runs: this machine alone (`local`), or the cluster that it belongs to (`auto`, or HOST:PORT)."""

    address: str = "local"
    cpus: int | None = Field(default=None, ge=1)
    """CPUs that a local Ray may use; all of them by default. A joined cluster knows its own."""
    gpus: int | None = Field(default=None, ge=0)
    object_store_mb: int | None = Field(default=200, ge=80)
    temp_dir: Path | None = None
    """Where a local Ray keeps sockets and logs: a short path, since sockets may have 107 characters."""
    worker_output: bool = False
    """Copy what workers print to this terminal."""
    worker_tflops: float | None = Field(default=None, gt=0)
    """What one training worker sustains, in TFLOP/s: its rate by the data sheet times the MFU that you expect. Only
    `stipple train plan` reads it, and the price."""
    price_per_worker_hour: float | None = Field(default=None, ge=0)
    """In any currency."""

    @field_validator("address")
    @classmethod
    def joined_from_within(cls, address: str) -> str:
        """Ray Client carries neither Ray Data nor Ray Train."""
        if "://" in address:
            raise ValueError(
                f"{address}: builds and stages cannot be run from outside of a cluster; run on a machine of it with "
                "`address: auto`, or submit the command: ray job submit --address http://HEAD:8265 --working-dir . -- "
                "stipple run ..."
            )
        return address


class Cluster:
    """Ray, started or joined on the first `connect()`, by whichever thread comes first; left by `close()`."""

    def __init__(self, manifest: ClusterManifest) -> None:
        self.manifest = manifest
        self.session: Path | None = None
        self.lock = threading.Lock()
        self.ours = False
        self.left = threading.Event()

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close(keep_logs=kind is not None)

    def connect(self) -> None:
        """Start or join Ray, once."""
        with self.lock:
            if self.ours:
                return
            os.environ.update({key: value for key, value in QUIET.items() if key not in os.environ})
            import ray

            hush("ray", "ray.data", "ray.train", "ray.tune")
            if ray.is_initialized():
                return
            began = time.monotonic()
            if threading.current_thread() is threading.main_thread():
                on_terminate = signal.getsignal(signal.SIGTERM)
                self.session = begin(self.manifest)
                signal.signal(signal.SIGTERM, on_terminate)  # Ray puts its own in its place
            else:
                self.left.clear()
                self.session = in_a_thread_that_stays(lambda: begin(self.manifest), until=self.left)
            self.ours = True
            where = "on this machine" if self.manifest.address == "local" else f"at {self.manifest.address}"
            say(f"Ray {ray.__version__} {where} after {clock(time.monotonic() - began)}")

    def close(self, *, keep_logs: bool = False) -> None:
        """Leave the cluster; a local Ray ends, and its session folder goes with it unless something failed."""
        with self.lock:
            if not self.ours:
                return
            import ray

            ray.shutdown()
            self.left.set()
            self.ours = False
            if self.session is not None and not keep_logs:
                shutil.rmtree(self.session, ignore_errors=True)


def begin(manifest: ClusterManifest) -> Path | None:
    """Start or join Ray; the folder of a session that is ours.

    Raises: Refused where there is no cluster to join, or it and this process do not understand each other.
    """
    import ray

    unasked = TOKEN not in os.environ
    with scratch("code") as folder, kept_from_children(signal.SIGHUP):
        try:
            context = ray.init(**options(manifest, scratch=folder))
        except (ConnectionError, ray.exceptions.AuthenticationError) as error:
            if manifest.address == "local":
                raise
            raise Refused(
                f"no Ray cluster can be joined at address: {manifest.address} ({last_line(error)}); run this on a "
                "machine of the cluster, or submit it there as a job, with the token that the cluster was started with"
            ) from None
    if manifest.address == "local":
        return Path(context.address_info["session_dir"])
    if unasked and os.environ.get(TOKEN) == "token":
        refuse_foreign_token()
    return None


def refuse_foreign_token() -> None:
    """Ray has chosen by itself to send a token; a cluster that was started without one then answers no actor.

    Raises: Refused where that is so.
    """
    import ray

    class Probe:
        def here(self) -> bool:
            return True

    try:
        ray.get(ray.remote(num_cpus=0)(Probe).remote().here.remote())
    except ray.exceptions.ActorDiedError:
        ray.shutdown()
        raise Refused(
            f"this process sends a token (~/.ray/auth_token) and the Ray cluster was started without: set "
            f"{TOKEN}=disabled, or start every machine of the cluster with {TOKEN}=token and the same RAY_AUTH_TOKEN"
        ) from None


def in_a_thread_that_stays(call: Callable[[], T], *, until: threading.Event) -> T:
    """What `call` returns, in a thread that does not end before `until`.

    Ray asks the kernel to kill its servers as soon as their parent is gone, which for Linux is the thread that started
    them: nodes that run side by side have threads of their own, and Ray has to outlive the one that needed it first.
    """
    told: Future[T] = Future()

    def stay() -> None:
        try:
            told.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised again where the call was asked for
            told.set_exception(error)
            return
        until.wait()

    threading.Thread(target=stay, name="ray", daemon=True).start()
    return told.result()


@contextlib.contextmanager
def kept_from_children(number: signal.Signals) -> Iterator[None]:
    """Processes that this thread starts meanwhile, and theirs, do not get the signal: a terminal that is closed sends
    SIGHUP to all of them, and workers must outlive it to save their state. Ray keeps SIGINT from them itself."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def options(manifest: ClusterManifest, *, scratch: Path) -> dict[str, Any]:
    """Keyword arguments of `ray.init` for a cluster; a joined one may be told neither CPUs nor folders.

    What a joined cluster is given of the code is packed in `scratch`.
    """
    chosen: dict[str, Any] = {
        "address": manifest.address,
        "log_to_driver": manifest.worker_output,
        "logging_level": logging.ERROR,
    }
    if manifest.address == "local":
        folder = manifest.temp_dir or sessions_folder()
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        elsewhere = "name another folder by temp_dir in the manifest of the cluster, or by TMPDIR"
        require_free(folder, megabytes=SESSION_MB, what="Ray", instead=elsewhere)
        chosen |= {"include_dashboard": False, "_temp_dir": str(folder)}
        chosen |= {"num_cpus": manifest.cpus, "num_gpus": manifest.gpus}
        if manifest.object_store_mb is not None:
            chosen["object_store_memory"] = manifest.object_store_mb * 2**20
    elif INSIDE_A_JOB not in os.environ:
        chosen["runtime_env"] = {"working_dir": str(package(scratch))}
    return chosen


def room(**asked: float) -> int:
    """How many workers that need these resources of Ray the machines have room for, each alone. What others hold
    is not looked at."""
    import ray

    there = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(int(min(one.get(name, 0.0) // amount for name, amount in asked.items() if amount)) for one in there)


def sessions_folder() -> Path:
    """Among the temporary files, or in /tmp where sockets would get too long a name: Ray adds 64 characters to it."""
    name = f"stipple-ray-{os.getuid()}"
    folder = Path(tempfile.gettempdir()) / name
    return folder if len(os.fsencode(folder)) <= 107 - 64 else Path("/tmp") / name


def package(folder: Path) -> Path:
    """`folder`/code.zip: the packages of this project, and nothing else that lies beside them.

    No two are alike. Ray unpacks a package under its hash and takes any folder of that name for a whole one, so that a
    machine killed while it unpacked would import half of the code in every later run.
    """
    path = folder / "code.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in SHIPPED:
            for file in sorted((ROOT / name).rglob("*")):
                if file.is_file() and "__pycache__" not in file.parts:
                    packed.write(file, file.relative_to(ROOT))
        packed.writestr("shipped", uuid.uuid4().hex)
    return path


def sweep(folder: Path) -> None:
    """Remove session folders whose process has ended: Ray names them `session_<time>_<pid>` and leaves them behind."""
    for session in folder.glob("session_*_*"):
        owner = session.name.rpartition("_")[2]
        if (
            not session.is_symlink()
            and owner.isdecimal()
            and not Path(f"/proc/{owner}").exists()
            and sys.platform == "linux"
        ):
            shutil.rmtree(session, ignore_errors=True)
