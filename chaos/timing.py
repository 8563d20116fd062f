"""Does the time of a 401 show whether the tenant exists? Welch's t of known against unknown.

In process, from request to response, so that only the work of the service is timed.
A customary threshold of leakage tests: |t| of 4.5 and more is a difference.
"""

import gc
import math
import random
import statistics
import time
from typing import Final, NamedTuple

from starlette.applications import Starlette
from starlette.types import Message

from chaos.inprocess import listeners, logged_errors
from chaos.part import Row, Size
from tests.ingestion import OTHER_SECRET, TENANT_FIELDS, TENANTS, webhook
from vyrox.models import Vendor

SIZES: Final = {"200 B": 200, "64 KiB": 64 * 1024, "1 MiB": 1024 * 1024}


class Case(NamedTuple):
    """A tenant that is compared with an unknown one.

    Attributes:
        on_path: The tenant is in the path, and the request has the headers of every scheme.
    """

    name: str
    vendor: Vendor
    tenant_id: str
    on_path: bool = False


CASES: Final = (
    Case("crowdstrike", "crowdstrike", TENANTS["crowdstrike"]),
    Case("sentinelone", "sentinelone", TENANTS["sentinelone"]),
    Case("path of crowdstrike", "crowdstrike", TENANTS["crowdstrike"], on_path=True),
    Case("path of sentinelone", "sentinelone", TENANTS["sentinelone"], on_path=True),
    Case("path, Falcon's signature", "crowdstrike", "falcon", on_path=True),
    Case("path, Standard Webhooks", "generic", "standard", on_path=True),
)

OTHER_SCHEMES: Final = [
    (b"x-cs-primary-signature", b"A" * 43 + b"="),
    (b"x-cs-delivery-timestamp", b"2026-11-29T10:00:00.000Z"),
    (b"webhook-id", b"m" * 32),
    (b"webhook-timestamp", b"1760000000"),
    (b"webhook-signature", b"v1," + b"A" * 43 + b"= v1," + b"B" * 43 + b"="),
]

THRESHOLD: Final = 4.5
KEPT: Final = 0.9
"""Only the fastest of each class count: in the rest the machine did something else."""

BATCH: Final = 500


def welch_t(first: list[int], second: list[int]) -> float:
    """Return Welch's t of two samples.

    Source:
        B. L. Welch, The generalization of Student's problem, Biometrika 34 (1947).
    """
    spread = statistics.variance(first) / len(first) + statistics.variance(second) / len(second)
    difference = statistics.fmean(first) - statistics.fmean(second)
    return difference / math.sqrt(spread) if spread else 0.0


def _body(vendor: Vendor, tenant_id: str, size: int) -> bytes:
    field = TENANT_FIELDS.get(vendor, "tenant")
    head = b'{"%b":"%b","unread":"' % (field.encode(), tenant_id.encode())
    return head + b"x" * (size - len(head) - 2) + b'"}'


async def _timed_ns(app: Starlette, case: Case, tenant_id: str, body: bytes) -> int:
    """Return how long the service takes to refuse `body`."""
    sent = webhook(case.vendor, body, secret=OTHER_SECRET)
    path = f"/webhook/{case.vendor}/{tenant_id}" if case.on_path else sent.path
    headers = [(name.encode(), value.encode()) for name, value in sent.headers.items()]
    headers += OTHER_SCHEMES * case.on_path
    headers += [(b"host", b"vyrox"), (b"content-length", b"%d" % len(body))]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8001),
        "state": {},
    }
    status = 0

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        status = message.get("status", status)

    began = time.perf_counter_ns()
    await app(scope, receive, send)
    ended = time.perf_counter_ns()
    if status != 401:
        raise RuntimeError(f"{status} in place of 401")
    return ended - began


async def _samples(
    app: Starlette, case: Case, size: int, samples: int
) -> tuple[list[int], list[int]]:
    """Return the times of a known tenant and of an unknown one, in random order, fastest first."""
    known = case.tenant_id
    tenants = (known, known[:-1] + "q")
    times: tuple[list[int], list[int]] = ([], [])
    choice = random.Random(size)
    left = [0, 1] * samples
    choice.shuffle(left)
    while left:
        batch, left = left[:BATCH], left[BATCH:]
        gc.collect()
        gc.disable()
        try:
            for kind in batch:
                # Made again each time: two bodies that stay in memory differ by their addresses.
                body = _body(case.vendor, tenants[kind], size)
                times[kind].append(await _timed_ns(app, case, tenants[kind], body))
                del body
        finally:
            gc.enable()
    first, second = (sorted(found)[: int(len(found) * KEPT)] for found in times)
    return first, second


async def run(size: Size) -> list[Row]:
    """Compare the two at each of SIZES; judge where there are samples enough (the long form)."""
    rows = []
    with logged_errors():
        async with listeners() as opened:
            for case in CASES:
                for name, size_bytes in SIZES.items():
                    samples = (
                        size.samples
                        if size.long
                        else max(200, size.samples * 200 // max(200, size_bytes // 64))
                    )
                    known, unknown = await _samples(opened.public, case, size_bytes, samples)
                    t = welch_t(known, unknown)
                    medians = [statistics.median(times) / 1000 for times in (known, unknown)]
                    rows.append(
                        Row(
                            "timing",
                            f"{case.name} {name}: known against unknown tenant",
                            2 * samples,
                            int(size.long and abs(t) >= THRESHOLD),
                            f"t {t:+.2f}, medians {medians[0]:.1f} and {medians[1]:.1f} us",
                        )
                    )
    return rows
