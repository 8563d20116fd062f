"""A real HTTP server that keeps what it is sent."""

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

ACCEPTED = (202, b'{"status":"queued","alert_id":"0b9c7f52-60a1-4a3e-8a55-4f5a3a1c9d10"}')


@dataclass
class Received:
    """One request, as it came over the wire."""

    method: str
    path: str
    headers: Message
    body: bytes


@dataclass
class Recorder:
    """What arrived, and what is answered: the last answer stays."""

    url: str
    received: list[Received] = field(default_factory=list)
    answers: list[tuple[int, bytes]] = field(default_factory=lambda: [ACCEPTED])
    headers: dict[str, str] = field(default_factory=dict)


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            kept.received.append(Received(self.command, self.path, self.headers, body))
            status, answer = kept.answers.pop(0) if len(kept.answers) > 1 else kept.answers[0]
            self.send_response(status)
            self.send_header("content-length", str(len(answer)))
            for name, value in kept.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (overridden)
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        kept = Recorder(f"http://127.0.0.1:{server.server_port}/webhook")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield kept
        server.shutdown()
        thread.join()


@pytest.fixture
def unused_url() -> Iterator[str]:
    """Yield a webhook base at a port that is taken, but where no process listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/webhook"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start every test without the developer's own settings."""
    for vendor in ("CROWDSTRIKE", "SENTINELONE", "DEFENDER", "GENERIC"):
        monkeypatch.delenv(f"{vendor}_WEBHOOK_SECRET", raising=False)
    for name in ("VYROX_HMAC_SECRET", "VYROX_URL", "VYROX_TENANT_ID"):
        monkeypatch.delenv(name, raising=False)
    # Nor may the developer's proxy are between a test and its own server.
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
