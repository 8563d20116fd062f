"""`make dashboard`: the picture of the dashboard in the docs, without Grafana.

It starts the demo, a real Prometheus that reads it, and the simulator's alerts as load. Then it
asks Prometheus the query of each panel in deploy/grafana/vyrox.json, and draws the answers. A query
that is refused ends it; panels without data are listed.
"""

import asyncio
import os
import sys
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx
from playwright.async_api import async_playwright

from tests.browser.drawing import COLUMN, page
from tests.browser.pictures import small
from tests.browser.screenshots import IMAGES, Demo, demo
from tests.browser.site import CHROMIUM
from tests.deploy.prometheus import Line, Panel, Prometheus, panels, running_prometheus
from tests.proxy import encoded, signed
from vyrox.clock import wall_clock
from vyrox.trial import company
from vyrox.trial.simulate.request import SignedRequest, build_request
from vyrox.trial.simulate.scenarios import scenario_of

if TYPE_CHECKING:
    from playwright.async_api import Browser

LOAD_S: Final = 120.0
STEP_S: Final = 2.0
TENANT: Final = "acme-corp"
SCENARIOS: Final = ("lateral-movement", "ransomware", "encoded-powershell", "software-deployment")

NOTE: Final = (
    "Not a picture of Grafana: drawn by `make dashboard` from deploy/grafana/vyrox.json and the "
    "answers of a Prometheus, with the demo and the simulator's alerts"
)


class Load:
    """What vendors and approvers do meanwhile."""

    def __init__(self, running: Demo, client: httpx.AsyncClient) -> None:
        self._env = running.env
        self._client = client
        self._alerts: list[str] = []

    async def run(self) -> None:
        """Send alerts for LOAD_S: more of them in the middle, some refused, some acted on."""
        until = wall_clock() + LOAD_S
        turn = 0
        while (left := until - wall_clock()) > 0:
            for name in SCENARIOS:
                await self._send(name)
            if turn % 3 == 0:
                await self._send("psexec", secret="not-the-secret")
            if turn % 4 == 1:
                await self._send_unreadable()
            if turn % 10 == 5:
                await self._act()
            turn += 1
            await asyncio.sleep(0.3 if LOAD_S / 3 < left < LOAD_S * 2 / 3 else 1.0)  # the rate

    async def _send(self, name: str, secret: str | None = None) -> None:
        scenario, url = scenario_of(name), self._env["VYROX_URL"]
        secret = secret or self._env["CROWDSTRIKE_WEBHOOK_SECRET"]
        requests = [
            build_request(scenario, stage, TENANT, secret, url, wall_clock(), uuid.uuid4())
            for stage in range(1, len(scenario.stages) + 1)
        ]
        # Now and then the vendor sends the last one again.
        for request in requests + requests[-1:] * (len(self._alerts) % 2):
            response = await self._post(request)
            if response.status_code == httpx.codes.ACCEPTED:
                self._alerts.append(response.json()["alert_id"])

    async def _send_unreadable(self) -> None:
        scenario, secret = scenario_of("mimikatz"), self._env["CROWDSTRIKE_WEBHOOK_SECRET"]
        url = self._env["VYROX_URL"]
        made = build_request(scenario, 1, TENANT, secret, url, wall_clock(), uuid.uuid4())
        body = encoded({"customer_id": TENANT, "sensor": str(uuid.uuid4())})
        headers = {**made.headers, "X-Vyrox-Signature": signed(body, secret)["x-vyrox-signature"]}
        await self._post(SignedRequest("POST", made.url, headers, body))

    async def _act(self) -> None:
        host = company.WORKSTATION_07.crowdstrike
        for path, action in (("execute", "HOST_ISOLATION"), ("lift", "LIFT_HOST_ISOLATION")):
            fields = {
                "request_id": str(uuid.uuid4()),
                "tenant_id": TENANT,
                "alert_id": self._alerts[-1],
                "action_type": action,
                "host": host,
                "approved_by": "jane",
                "approved_at": int(wall_clock()),
            }
            body = encoded(fields)
            await self._client.post(
                f"http://127.0.0.1:{self._env['PROXY_PORT']}/{path}",
                headers=signed(body, self._env["VYROX_HMAC_SECRET"]),
                content=body,
            )

    async def _post(self, request: SignedRequest) -> httpx.Response:
        return await self._client.post(request.url, headers=request.headers, content=request.body)


async def answered(
    prometheus: Prometheus, since: float, until: float
) -> list[tuple[Panel, list[Line]]]:
    """Return each panel with the answers to its queries, in the order of their names."""
    found = []
    for panel in panels():
        lines: list[Line] = []
        for query in panel.queries:
            lines += await prometheus.lines(query, since, until, STEP_S)
        # Grafana draws them all. Where there are many, those that stay at 0 would hide all else.
        moving = [line for line in lines if any(value > 0 for _, value in line.points)]
        found.append((panel, sorted(moving if len(lines) > 6 else lines)))
    return found


async def draw(browser: "Browser", content: str) -> bytes:
    """Return the page as a small picture."""
    shown = await browser.new_page(viewport={"width": 24 * COLUMN, "height": 800})
    await shown.set_content(content)
    taken = await shown.screenshot(full_page=True)
    return await small(await browser.new_page(), taken)


async def main() -> None:
    """Make the picture."""
    with tempfile.TemporaryDirectory() as directory:
        async with (
            demo() as running,
            running_prometheus(
                Path(directory), f"127.0.0.1:{running.env['PROXY_PORT']}"
            ) as prometheus,
            httpx.AsyncClient(timeout=30, trust_env=False) as client,
        ):
            await running.vyrox("tenant", "poll", TENANT, "--vendor", "crowdstrike")
            since = wall_clock()
            await Load(running, client).run()
            until = wall_clock()
            found = await answered(prometheus, since, until)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"] if os.geteuid() == 0 else []
        )
        picture = await draw(browser, page(found, NOTE, since, until))
        await browser.close()
    (IMAGES / "dashboard.png").write_bytes(picture)
    sys.stdout.write(f"dashboard: {len(picture) / 1000:.0f} kB\n")
    for panel, lines in found:
        if panel.queries and not lines:
            sys.stdout.write(f"no data: {panel.title}\n")


if __name__ == "__main__":
    asyncio.run(main())
