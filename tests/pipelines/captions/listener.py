"""A caption endpoint on loopback that answers as the test tells it to, and notes what it is asked."""

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from pipelines.clip import Clip
from tests import sounds

ANSWER: dict[str, Any] = {
    "long": "A calm low voice speaks English slowly in a quiet room.", "short": "A calm low voice.", "pitch": "low",
    "rate": "slow", "background": "quiet", "language": "en", "voice": "male", "age": "adult", "room": "dry",
    "emotion": "calm",
}  # fmt: skip


@dataclass
class Told:
    """What the server sends to one request."""

    status: int = 200
    body: Any = None
    """Text as it is; None: a good answer in the style of the path that was asked."""
    headers: dict[str, str] = field(default_factory=dict)
    wait_seconds: float = 0.0
    dribble: bool = False
    """A byte each 50 ms."""


@dataclass
class Server:
    """The endpoint: `script` is used up first, `then` answers all else."""

    url: str
    script: list[Told] = field(default_factory=list)
    then: Told = field(default_factory=Told)
    asked: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    """Path, headers (in lower case) and body of each request."""
    lock: threading.Lock = field(default_factory=threading.Lock)


def good(path: str, answer: dict[str, Any]) -> str:
    """A reply as that style of endpoint frames it."""
    text = json.dumps(answer)
    if path.endswith(":generateContent"):
        usage = {"promptTokenCount": 1000, "candidatesTokenCount": 100}
        part = {"content": {"parts": [{"text": text}], "role": "model"}, "finishReason": "STOP"}
        return json.dumps({"candidates": [part], "usageMetadata": usage})
    usage = {"prompt_tokens": 1000, "completion_tokens": 100}
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}], "usage": usage})


@contextmanager
def listening(tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """The endpoint, on a free port of loopback, until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with made.lock:
                made.asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                told = made.script.pop(0) if made.script else made.then
            time.sleep(told.wait_seconds)
            text = good(self.path, ANSWER) if told.body is None else told.body
            data = text.encode() if isinstance(text, str) else json.dumps(text).encode()
            try:
                self.send_response(told.status)
                for name, value in {"content-length": str(len(data)), **told.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                for byte in data if told.dribble else b"":
                    self.wfile.write(bytes([byte]))
                    time.sleep(0.05)
                self.wfile.write(b"" if told.dribble else data)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    if tls is not None:
        http.socket = tls.wrap_socket(http.socket, server_side=True)
    made = Server(f"http://127.0.0.1:{http.server_address[1]}/v1")
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    http.shutdown()
    thread.join()
    http.server_close()


def clip_of(seed: int = 0, *, seconds: float = 1.0, **facts: Any) -> Clip:
    """A clip of noise, another for each seed."""
    wave_S = np.random.default_rng(seed).normal(0, 0.1, round(seconds * 16000)).astype(np.float32)
    known = {"snr_db": 40.0, "language": "en", "text": "nine words", "mos_overall": 4.0, **facts}
    return sounds.clip_of(wave_S, key=f"{seed:026d}", recording=f"{seed}.wav", **known)
