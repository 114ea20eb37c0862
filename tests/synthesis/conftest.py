"""A service on loopback that speaks OpenAI's wire format, as a test tells it to."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any

import pytest

KEY = "sk-loopback-0123456789"


@dataclass(frozen=True)
class Request:
    """What came in, and when."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    time: float


Act = dict[str, Any] | Callable[[dict[str, Any]], dict[str, Any]]
"""What goes out, or what makes it from the request's body; see ``USUAL``."""

USUAL: dict[str, Any] = {
    "body": b"",
    "status": 200,
    "media_type": "application/json",
    "headers": {},
    # Seconds before the answer begins; then it comes in so many pieces, 0.1 seconds apart.
    "pause": 0.0,
    "pieces": 1,
    # So many bytes more are announced than come.
    "missing": 0,
}


class Handler(BaseHTTPRequestHandler):
    server: "Service"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = Request(self.path, dict(self.headers), asked, time.monotonic())
        with self.server.lock:
            self.server.requests.append(request)
            act = self.server.acts.pop(0) if self.server.acts else self.server.usual
        answer = USUAL | (act if isinstance(act, dict) else act(asked))
        body = answer["body"]
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.server.woken.wait(answer["pause"])
        self.send_response(answer["status"])
        self.send_header("Content-Type", answer["media_type"])
        self.send_header("Content-Length", str(len(body) + answer["missing"]))
        for name, value in answer["headers"].items():
            self.send_header(name, value)
        try:
            self.end_headers()
            for number in range(answer["pieces"]):
                self.server.woken.wait(0.1 if number else 0)
                self.wfile.write(body[number :: answer["pieces"]])
        except OSError:
            # Whoever asked waited long enough.
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


class Service(ThreadingTCPServer):
    """Does ``acts`` in turn, then always ``usual``; keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.acts: list[Act] = []
        self.usual: Act = {"status": 404}
        self.requests: list[Request] = []
        self.lock = threading.Lock()
        self.woken = threading.Event()
        self.key = KEY
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A service whose key is in the environment."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with Service() as service:
        thread = threading.Thread(target=service.serve_forever, args=(0.01,))
        thread.start()
        yield service
        service.woken.set()
        service.shutdown()
        thread.join()
