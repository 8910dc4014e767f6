"""What tests share: the recordings beside the checkout, which are not skipped in silence, an S3 server, processes."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes import starting
from tests.s3 import Server, running

SHARED = Path(__file__).resolve().parents[1].parent / "shared"

skipped_though_there: list[str] = []


def pytest_configure() -> None:
    """All servers of the tests are on loopback, where a proxy that the machine has is not asked."""
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1,localhost"


@pytest.fixture(scope="module")
def shared_server() -> Iterator[Server]:
    """An S3 server on loopback, for the tests of a file."""
    with running() as server:
        yield server


@pytest.fixture
def server(shared_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The server, with credentials for it, and no fault left over."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    yield shared_server
    shared_server.fault = None


@pytest.fixture
def popen() -> Iterator[Callable[..., "subprocess.Popen[Any]"]]:
    """Starts processes as `subprocess.Popen` does, which the test does not leave behind."""
    with starting() as start:
        yield start


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real recordings and parity fixtures beside the checkout; the test skips where it is missing."""
    if not SHARED.is_dir():
        pytest.skip(f"no recordings and fixtures beside the checkout: {SHARED.name}/ is missing")
    return SHARED


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note tests that need the shared folder, and skipped although it is there."""
    if report.skipped and "shared" in report.keywords and SHARED.is_dir():
        skipped_though_there.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where the shared folder is, a skipped test that needs it is a failed one."""
    if skipped_though_there:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say so."""
    for test in skipped_though_there:
        terminalreporter.write_line(f"FAILED {test}: skipped, although {SHARED.name}/ is there", red=True)
