"""Every bad credential gets the same response on the private listener's routes, byte for byte.

tests/routes/test_webhooks.py proves the same for the webhooks, over sockets too.
"""

from collections.abc import Callable
from typing import Final

from chaos.inprocess import listeners, logged_errors
from chaos.part import Row, Size
from tests.http.test_protocol import exchange, serving
from tests.proxy import TENANT, encoded, wanted
from tests.routes.test_execute import bad_signatures
from tests.routes.test_lift import LIFT
from tests.routes.test_webhooks import masked
from vyrox.clock import wall_clock

TRIMMED: Final = {"space_before", "space_behind", "tab_behind"}
"""White space around a value belongs to the framing: over a socket these signatures are valid."""

REFUSED_BELOW: Final = {"nul_behind"}
"""No HTTP at all: 400, whatever the route."""

Raw = Callable[[list[bytes]], bytes]


def _request(line: bytes, fields: list[bytes], body: bytes) -> Raw:
    def raw(signatures: list[bytes]) -> bytes:
        head = [line + b" HTTP/1.1", b"host: vyrox", b"connection: close", *fields]
        head += [b"x-vyrox-signature: " + signature for signature in signatures]
        return b"\r\n".join([*head, b"content-length: %d" % len(body), b"", b""]) + body

    return raw


def _requests() -> dict[str, tuple[Raw, bytes, bytes]]:
    """Return per route: the request for a signature, what is signed, and another such message."""
    found = {}
    for path, changes in (("/execute", {}), ("/lift", LIFT)):
        body, other = (encoded(wanted(**changes, host=host)) for host in ("first", "second"))
        found[path] = _request(b"POST " + path.encode(), [], body), body, other
    timestamp = b"%d" % int(wall_clock())
    line = b"GET /audit/export?tenant_id=" + TENANT.encode()
    export = _request(line, [b"x-vyrox-timestamp: " + timestamp], b"")
    found["/audit/export"] = (
        export,
        TENANT.encode() + b":" + timestamp,
        b"initech:" + timestamp,
    )
    return found


async def run(_size: Size) -> list[Row]:
    """Compare the responses of each route to every bad signature."""
    rows = []
    with logged_errors():
        async with listeners() as opened, serving(opened.private) as port:
            for path, (raw, message, other) in _requests().items():
                causes = bad_signatures(message, other)
                answers = {}
                for cause, values in causes.items():
                    if cause not in TRIMMED | REFUSED_BELOW:
                        (answer,) = await exchange(port, raw(values))
                        answers[cause] = masked(answer)
                expected = answers["missing"]
                losses = [cause for cause, found in answers.items() if found != expected]
                losses += ["missing"] * (expected[0] != 401)
                rows.append(
                    Row(
                        "credentials",
                        f"{path}: answers that differ",
                        len(answers),
                        len(losses),
                        ", ".join(losses),
                    )
                )
    return rows
