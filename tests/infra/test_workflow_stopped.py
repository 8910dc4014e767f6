"""The workflow engine, killed and stopped on toy nodes: it says so, saves what it can, and goes on."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.journal import last_end
from infra.workflow.node import STOP
from infra.workflow.signals import stoppable
from infra.workflow.store import Store
from tests.infra.runs import total, visits
from tests.processes import PATIENCE_SECONDS, until

HERE = Path(__file__).parent
Run = Callable[..., tuple[int, str, str]]
Start = Callable[..., subprocess.Popen[str]]


def test_killed_in_the_middle_it_goes_on_where_it_stopped(toys: Path, stipple_run: Run, start: Start) -> None:
    killed = start("--set", "two.fail=kill")
    killed.communicate(timeout=PATIENCE_SECONDS)
    assert killed.returncode == -signal.SIGKILL
    slot = Store(toys / "store").slots("two")[0]
    assert slot.state()["status"] in ("running", "killed")
    (slot.out / "torn.txt").write_text("half a file")
    code, _, err = stipple_run()
    assert code == 0
    assert "two    resume: attempt 1 was killed" in err
    assert visits(toys, "two") == [1, 2, 3]
    assert (slot.out / "began_at.txt").read_text() == "2"
    assert not (slot.out / "torn.txt").exists()
    assert total(toys, "three") == 11
    assert last_end(slot.journal) == "FINISHED"


def test_a_killed_run_is_reaped(toys: Path, start: Start) -> None:
    killed = start("--set", "two.fail=kill")
    killed.communicate(timeout=PATIENCE_SECONDS)
    store = Store(toys / "store")
    (slot,), (above,) = store.slots("two"), store.workflow_runs("toys")

    def reaped() -> bool:  # by us, or by the shipper, which looks after the store when its pipe to the run closes
        store.reap(lambda line: None)
        return slot.state()["status"] == "killed" and last_end(above.journal) is not None

    until(reaped, what="the killed run to be marked")
    assert last_end(slot.journal) == "KILLED"
    assert last_end(above.journal) == "KILLED"


@pytest.mark.parametrize("numbers", [[signal.SIGTERM, signal.SIGTERM], [signal.SIGINT, signal.SIGINT]])
def test_stopped_by_a_signal_it_says_so_and_can_go_on(
    toys: Path, stipple_run: Run, start: Start, numbers: list[signal.Signals]
) -> None:
    running = start("--set", "two.seconds_per_step=100")
    store = Store(toys / "store")
    until(
        lambda: any(slot.state().get("status") == "running" for slot in store.slots("two")),
        what="the second node to begin",
        process=running,
    )
    for number in numbers:
        running.send_signal(number)
        # the first asks the job, which would take minutes to look
        until((store.slots("two")[0].work / STOP).exists, what="the job to be asked", process=running)
    _, err = running.communicate(timeout=PATIENCE_SECONDS)
    assert running.returncode == 130
    assert "run the same command again" in err
    assert "Traceback" not in err
    assert store.slots("two")[0].state()["status"] == "interrupted"
    code, _, err = stipple_run()
    assert code == 0
    assert "two    resume: attempt 1 was stopped" in err


@pytest.mark.parametrize(("jobs", "number"), [(1, signal.SIGTERM), (2, signal.SIGTERM), (1, signal.SIGINT)])
def test_a_signal_lets_jobs_at_work_save_first_and_starts_no_others(
    toys: Path, stipple_run: Run, start: Start, jobs: int, number: signal.Signals
) -> None:
    """Given jobs at work, one by one or side by side, when the signal comes, each ends by itself and goes on."""
    each = "kind: toy, manifest: toy.yaml, set: {steps: 2000, seconds_per_step: 0.1}"
    nodes = f"  a: {{{each}}}\n  b: {{{each}}}\n  c: {{kind: toy, manifest: toy.yaml, inputs: {{left: a}}}}\n"
    head = f"name: wide\nstore: store\ntracking: sqlite:///{toys}/mlflow.db\ncluster: cluster.yaml\nnodes:\n"
    (toys / "w.yaml").write_text(head + nodes)
    running = start("--jobs", str(jobs))
    store = Store(toys / "store")
    busy = ["a", "b"][:jobs]
    until(
        lambda: all(any((toys / "store" / name).glob("*/work/visits.txt")) for name in busy),
        what="first steps",
        process=running,
    )
    running.send_signal(number)
    _, err = running.communicate(timeout=PATIENCE_SECONDS)
    assert running.returncode == 130, err
    assert "Traceback" not in err
    for name in busy:
        (slot,) = store.slots(name)
        assert f"told to stop: {name} ends its step and saves it; told again, it stops at once" in err
        assert slot.state()["status"] == "interrupted"
        assert 0 < int((slot.work / "asked.txt").read_text()) == visits(toys, name)[-1] < 2000
    assert all(not store.slots(name) for name in {"a", "b", "c"} - set(busy))
    code, _, _ = stipple_run("--set", "a.seconds_per_step=0", "--set", "b.seconds_per_step=0")
    assert code == 0
    assert visits(toys, "a") == list(range(1, 2001))


def test_a_terminal_that_is_closed_lets_the_job_at_work_save_first(
    toys: Path, stipple_run: Run, empty_mlflow: Path, popen: Start
) -> None:
    shutil.copy(empty_mlflow, toys / "mlflow.db")
    words = [sys.executable, str(HERE / "toy_stipple.py"), "w.yaml", "--set", "two.steps=2000"]
    words += ["--set", "two.seconds_per_step=0.1"]
    own = "import fcntl, os, signal, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    own += "signal.signal(signal.SIGHUP, signal.SIG_DFL); "  # the tests themselves may run under nohup
    own += "os.execv(sys.argv[1], sys.argv[1:])"
    try:
        terminal, inside = os.openpty()
    except OSError as error:
        pytest.skip(f"no terminals here: {error}")
    running = popen([sys.executable, "-c", own, *words], cwd=toys, stdin=inside, stdout=inside, stderr=inside)
    os.close(inside)
    try:
        until(lambda: any((toys / "store" / "two").glob("*/work/visits.txt")), what="the second node", process=running)
    finally:
        os.close(terminal)
    assert running.wait(timeout=PATIENCE_SECONDS) == 130
    (slot,) = Store(toys / "store").slots("two")
    assert slot.state()["status"] == "interrupted"
    assert int((slot.work / "asked.txt").read_text()) == visits(toys, "two")[-1] < 2000
    code, _, err = stipple_run("--set", "two.steps=2000", "--set", "two.seconds_per_step=0")
    assert code == 0
    assert "two    resume: attempt 1 was stopped" in err


def test_what_ignores_a_closed_terminal_goes_on_without_it() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with stoppable(lambda: False):
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
