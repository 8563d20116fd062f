"""`vyrox health` asks the public listener (contract 101)."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from click.testing import CliRunner

from vyrox.cli import cli


class Answering(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), type("Handler", (Answering,), {})) as made:
        Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


def health(server: HTTPServer) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["health"], env={"PORT": str(server.server_port)})
    return result.exit_code, result.output


def test_a_service_that_would_accept_an_alert_is_exit_code_0_contract_101(
    server: HTTPServer,
) -> None:
    assert health(server) == (0, "ok\n")


def test_a_service_without_a_store_is_exit_code_1_contract_101(server: HTTPServer) -> None:
    server.RequestHandlerClass.status = 503  # type: ignore[attr-defined]
    code, output = health(server)
    assert code == 1
    assert "A store is unavailable" in output


def test_no_service_is_exit_code_1_contract_101(server: HTTPServer) -> None:
    server.shutdown()
    server.server_close()
    code, output = health(server)
    assert code == 1
    assert "Does the service run?" in output
