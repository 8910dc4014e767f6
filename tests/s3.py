"""An S3 server on loopback (moto), whose answers a test may spoil: 503, resets, delays, missing rights, full disks."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from infra.buckets import Bucket, Storage

Fault = Callable[[dict[str, Any]], "str | None"]
"""Takes the WSGI environment of a request; returns a status to answer in its place, `reset`, or None."""


@dataclass
class Server:
    """A running server; `fault` looks at every request first."""

    url: str = ""
    fault: Fault | None = None
    seen: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path and range of every request."""
    one_at_a_time: threading.Lock = field(default_factory=threading.Lock)
    """moto looks whether an object is there, and then writes it: a real store does both at once."""

    def bucket(self, path: str = "corpora/some/where", **storage: Any) -> Bucket:
        """A prefix of the bucket that the server has."""
        told = {"endpoint": self.url, "region": "us-east-1", "timeout_seconds": 60, "retries": 2, **storage}
        return Bucket(f"s3://{path}", Storage(**told))

    def wrap(self, app: Any) -> Any:
        """The server's application, behind the faults."""

        def answer(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
            self.seen.append((environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("HTTP_RANGE", "")))
            status = self.fault(environ) if self.fault is not None else None
            if status == "reset":
                environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
                raise ConnectionResetError
            if status is not None:
                code = status.partition(" ")[2].replace(" ", "")
                start(status, [("Content-Type", "application/xml")])
                return [f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()]
            with self.one_at_a_time:
                return list(app(environ, start))

        return answer


@contextmanager
def running() -> Iterator[Server]:
    """A server with one bucket, `corpora`, until the end of the block; meanwhile, the environment names no account."""
    with pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.startswith("AWS_")]:  # whoever the person here is elsewhere
            environment.delenv(name)
        yield from serving()


def serving() -> Iterator[Server]:
    """The same, for the credentials that the environment names."""
    import logging

    import boto3
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    server = Server()
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    app = server.wrap(DomainDispatcherApplication(create_backend_app))
    web = make_server("127.0.0.1", 0, app, threaded=True)
    server.url = f"http://127.0.0.1:{web.server_port}"
    thread = threading.Thread(target=web.serve_forever, daemon=True)
    thread.start()
    try:
        words = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        client = boto3.client("s3", endpoint_url=server.url, **words)
        client.create_bucket(Bucket="corpora")
        client.close()
        server.seen.clear()
        yield server
    finally:
        web.shutdown()
        web.server_close()
        thread.join(10)


def slow(seconds: float) -> Fault:
    """Answers that come too late."""

    def wait(_: dict[str, Any]) -> None:
        time.sleep(seconds)

    return wait


def first(count: int, status: str) -> Fault:
    """Spoil the first answers."""
    left = [count]

    def spoil(_: dict[str, Any]) -> str | None:
        left[0] -= 1
        return status if left[0] >= 0 else None

    return spoil
