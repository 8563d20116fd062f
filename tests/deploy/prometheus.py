"""A real Prometheus that reads a service, and what deploy/ asks it."""

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx

from tests.polling import PATIENCE_S, until
from tests.ports import free_port

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
DASHBOARD: Final = DEPLOY / "grafana" / "vyrox.json"
RULES: Final = DEPLOY / "prometheus" / "rules.yaml"
PROGRAM: Final = shutil.which("prometheus") or "/usr/bin/prometheus"

_VARIABLES: Final = {"$instance": ".*", "$__rate_interval": "15s"}
"""What Grafana would put there."""


class Query(NamedTuple):
    """A query of a panel.

    Attributes:
        legend: How Grafana names each answer: text with `{{label}}`.
    """

    text: str
    legend: str


class Panel(NamedTuple):
    """A panel of the dashboard, or the title of a row of panels, which has no query.

    Attributes:
        place: x, y, width and height; the page is 24 wide.
        steps: For a panel with one number: from which value on it has which colour.
    """

    title: str
    kind: str
    place: tuple[int, int, int, int]
    unit: str
    queries: tuple[Query, ...]
    steps: tuple[tuple[float | None, str], ...]


class Line(NamedTuple):
    """What a query was answered with, for one combination of labels: times and values."""

    name: str
    points: tuple[tuple[float, float], ...]


def panels() -> Iterator[Panel]:
    """Return the panels of the dashboard's file."""
    for each in json.loads(DASHBOARD.read_text())["panels"]:
        defaults = each.get("fieldConfig", {}).get("defaults", {})
        steps = defaults.get("thresholds", {}).get("steps", ())
        yield Panel(
            each["title"],
            each["type"],
            tuple(each["gridPos"][name] for name in "xywh"),
            defaults.get("unit", ""),
            tuple(
                Query(_filled(target["expr"]), target.get("legendFormat", ""))
                for target in each.get("targets", ())
            ),
            tuple((step["value"], step["color"]) for step in steps),
        )


def _filled(query: str) -> str:
    for name, value in _VARIABLES.items():
        query = query.replace(name, value)
    return query


class Prometheus:
    """A client of one that runs."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def ask(self, query: str) -> list[dict[str, Any]]:
        """Return the answer to a query now."""
        return await self._ask("query", query=query)

    async def lines(self, query: Query, since: float, until_: float, step: float) -> list[Line]:
        """Return the answer for a while."""
        found = await self._ask(
            "query_range", query=query.text, start=str(since), end=str(until_), step=str(step)
        )
        return [
            Line(
                _name(query.legend, each["metric"]),
                tuple((at, float(value)) for at, value in each["values"]),
            )
            for each in found
        ]

    async def rules(self) -> list[dict[str, Any]]:
        """Return the alert rules, with their health."""
        answer = (await self._client.get("/api/v1/rules")).json()
        return [rule for group in answer["data"]["groups"] for rule in group["rules"]]

    async def is_ready(self) -> bool:
        try:
            return (await self._client.get("/-/ready")).status_code == 200
        except httpx.TransportError:
            return False

    async def _ask(self, what: str, **params: str) -> list[dict[str, Any]]:
        response = await self._client.get(f"/api/v1/{what}", params=params)
        answer = response.json()
        # A query that is refused ends the caller.
        assert answer["status"] == "success", (params["query"], answer["error"])
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found


def _name(legend: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), legend)


@asynccontextmanager
async def running_prometheus(
    directory: Path, target: str, interval: str = "1s"
) -> AsyncIterator[Prometheus]:
    """Run a Prometheus with the rules of deploy/ until the block ends.

    Args:
        target: The address and port whose `/metrics` it reads.
    """
    config = {
        "global": {"scrape_interval": interval, "evaluation_interval": interval},
        "rule_files": [str(RULES)],
        "scrape_configs": [{"job_name": "vyrox", "static_configs": [{"targets": [target]}]}],
    }
    file = directory / "prometheus.json"
    file.write_text(json.dumps(config))  # JSON is YAML
    address = f"127.0.0.1:{free_port()}"
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        f"--config.file={file}",
        f"--storage.tsdb.path={directory / 'tsdb'}",
        f"--web.listen-address={address}",
        "--log.level=warn",
    )
    try:
        async with httpx.AsyncClient(
            base_url=f"http://{address}", timeout=PATIENCE_S, trust_env=False
        ) as client:
            prometheus = Prometheus(client)
            await until(prometheus.is_ready)
            yield prometheus
    finally:
        process.terminate()
        await process.wait()
