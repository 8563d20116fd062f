"""Incidents on the private listener, in the two signed forms (contract 51 and 54)."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final

import httpx
import pytest

from tests.proxy import NOWHERE, TENANT, Fields, Proxied, encoded, export_headers, proxied, signed
from tests.triage.stored import judged, new
from vyrox.clock import wall_clock
from vyrox.models import NormalizedAlert
from vyrox.settings import Settings

KEY: Final = "c2VjcmV0LWtleS1vZi10aGUtdGVzdHMtMDEyMzQ1Njc="
SHADOWS: Final = "vssadmin delete shadows /all /quiet"
ONE, TWO, OTHER = f"{TENANT}-1", f"{TENANT}-2", "initech-1"


@pytest.fixture
async def running(settings: Settings, database_url: str | None) -> AsyncIterator[Proxied]:
    """The listener, on each of the two databases, with two incidents and one of another tenant."""
    on_each = replace(settings, database_url=database_url, encryption_keys=(KEY,))
    async with proxied(replace(on_each, redis_url=NOWHERE)) as opened:
        yield opened


async def three(running: Proxied) -> tuple[NormalizedAlert, NormalizedAlert]:
    quiet, bad = new(0, "ipconfig /all"), new(1, SHADOWS)
    await judged(running.database, quiet, bad)
    await judged(running.database, new(2, SHADOWS, hostname="srv-2", device_id="id-2"))
    await judged(running.database, new(3, SHADOWS, tenant_id="initech"), tenant_id="initech")
    return quiet, bad


async def get(running: Proxied, path: str, **params: str | list[str]) -> httpx.Response:
    return await running.client.get(
        path, params={"tenant_id": TENANT, **params}, headers=export_headers(TENANT)
    )


async def post(
    running: Proxied, name: str, incident_id: str = ONE, path_id: str = "", **more: object
) -> httpx.Response:
    fields: Fields = {
        "tenant_id": TENANT,
        "id": incident_id,
        "request_id": str(uuid.uuid4()),
        "by": "jane.smith",
        "at": int(wall_clock()),
        **more,
    }
    body = encoded(fields)
    path = f"/incidents/{path_id or incident_id}/{name}"
    return await running.client.post(path, content=body, headers=signed(body))


async def test_incidents_are_listed_and_shown_contract_54(running: Proxied) -> None:
    _, bad = await three(running)
    answer = await get(running, "/incidents")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert [each["id"] for each in answer.json()["incidents"]] == [TWO, ONE]
    first = (await get(running, "/incidents", limit="1", status=["open", "closed"])).json()
    second = (await get(running, "/incidents", limit="1", before=first["before"])).json()
    assert [each["id"] for each in second["incidents"]] == [ONE]
    assert (await get(running, "/incidents", band="close")).json()["incidents"] == []

    shown = (await get(running, f"/incidents/{ONE}")).json()
    assert (shown["band"], shown["alerts"], shown["redirected_from"]) == ("urgent", 2, None)
    assert shown["reasons"][0]["alert_id"] == bad.id
    assert [line["type"] for line in shown["timeline"]["lines"]] == ["alert", "alert"]
    for incident_id in (OTHER, f"{TENANT}-9", "nothing", "%00", f"{TENANT}-0"):
        answer = await get(running, f"/incidents/{incident_id}")
        assert (answer.status_code, answer.json()) == (404, {"detail": "not found"})


@pytest.mark.parametrize(
    "params",
    [
        {"status": "bad"},
        {"stat": "open"},
        {"since": "inf"},
        {"before": "x"},
        {"limit": "201"},
        {"limit": ["1", "2"]},
    ],
    ids=repr,
)
async def test_list_refuses_a_bad_parameter_contract_54(
    running: Proxied, params: dict[str, str]
) -> None:
    answer = await get(running, "/incidents", **params)
    assert (answer.status_code, answer.json()) == (400, {"detail": "invalid request"})


async def test_people_change_incidents_contract_54(running: Proxied) -> None:
    quiet, _ = await three(running)

    taken = await post(running, "ack")
    assert (taken.status_code, taken.json()["assignee"]) == (200, "jane.smith")
    assert (await post(running, "comment", note="asked")).status_code == 200
    moved = await post(running, "move", alerts=[quiet.id])
    assert (moved.json()["id"], moved.json()["alerts"]) == (f"{TENANT}-3", 1)
    back = await post(running, "move", f"{TENANT}-3", alerts=[quiet.id], to=ONE)
    assert (back.json()["id"], back.json()["alerts"]) == (ONE, 2)
    merged = await post(running, "merge", TWO, other=ONE, note="one campaign")
    assert (merged.json()["id"], merged.json()["alerts"]) == (ONE, 3)
    closed = await post(running, "close", resolution="benign_expected", note="a restore test")
    assert (closed.json()["status"], closed.json()["resolution"]) == ("closed", "benign_expected")
    assert (await post(running, "reopen")).json()["status"] == "open"

    shown = (await get(running, f"/incidents/{TWO}")).json()
    assert (shown["id"], shown["redirected_from"]) == (ONE, TWO)
    kinds = [
        (each["kind"], each["by"])
        for each in await running.events(TENANT)
        if str(each["kind"]).startswith("incident.") and "by" in each
    ]
    assert kinds == [
        (f"incident.{step}", "jane.smith")
        for step in (
            *("acknowledged", "commented", "moved", "moved"),
            *("merged", "closed", "reopened"),
        )
    ]
    event = (await running.events(TENANT, "incident.acknowledged"))[0]
    assert event["request_id"] == taken.headers["x-request-id"]


async def test_a_change_is_made_once_contract_51(running: Proxied) -> None:
    await three(running)
    request_id = str(uuid.uuid4())
    answers = [await post(running, "ack", request_id=request_id) for _ in range(2)]
    assert {answer.status_code for answer in answers} == {200}
    assert answers[0].content == answers[1].content
    assert (await post(running, "reopen", request_id=request_id)).status_code == 422
    assert len(await running.events(TENANT, "incident.acknowledged")) == 1


async def test_what_is_refused_changes_nothing_contract_54(running: Proxied) -> None:
    quiet, _ = await three(running)
    for name, incident_id, more, status in (
        ("ack", OTHER, {}, 404),
        ("ack", f"{TENANT}-9", {}, 404),
        ("merge", ONE, {"other": OTHER}, 404),
        ("merge", ONE, {"other": ONE}, 409),
        ("move", TWO, {"alerts": [quiet.id]}, 409),
        ("move", ONE, {"alerts": ["nothing"]}, 404),
        ("move", ONE, {"alerts": [quiet.id], "to": OTHER}, 404),
        ("move", ONE, {"alerts": []}, 400),
        ("reopen", ONE, {}, 409),
        ("close", ONE, {"resolution": "merged"}, 400),
        ("close", ONE, {"resolution": "false_positive"}, 400),
        ("comment", ONE, {"note": " "}, 400),
        ("ack", ONE, {"path_id": TWO}, 400),
        ("ack", ONE, {"at": int(wall_clock()) - 60}, 410),
    ):
        answer = await post(running, name, incident_id, **more)
        assert answer.status_code == status, (name, incident_id, more)
    assert {each["kind"] for each in await running.events(TENANT)} == {"incident.opened"}
