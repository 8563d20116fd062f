"""Graph's handshake and notifications on Defender's path with a tenant (contract 74)."""

from typing import Final

import httpx
import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from tests.adapters.forms.payloads import INFO, MACHINE, PROCESS
from tests.adapters.payloads import DOCUMENTED
from tests.audit import events
from tests.ingestion import OTHER_SECRET, SECRET, TENANTS, Application, Webhook, credential
from tests.polling import until
from vyrox import log
from vyrox.alerts import records
from vyrox.chain.entry import SERVICE
from vyrox.store.tables import graph_notices
from vyrox.trial.mock_edr.graph_push import RefusedHandshakeError, Subscription

TENANT: Final = TENANTS["defender"]
PATH: Final = f"/webhook/defender/{TENANT}"
DIRECTORY: Final = TENANT


def subscription(application: Application, state: str = SECRET, path: str = PATH) -> Subscription:
    return Subscription(application.client, path, state, DIRECTORY)


async def announced(application: Application) -> list[tuple[str, str]]:
    """Return the tenant and the id of each alert that is to be fetched."""

    def find(connection: Connection) -> list[tuple[str, str]]:
        c = graph_notices.c
        query = sa.select(c.tenant_id, c.alert_id).order_by(c.alert_id)
        return [(row.tenant_id, row.alert_id) for row in connection.execute(query)]

    return await application.database.read(find)


@pytest.mark.parametrize("path", [PATH, f"{PATH}/", "/webhook/defender/nobody"])
async def test_the_handshake_is_echoed_before_any_credential_contract_74(
    application: Application, path: str
) -> None:
    await subscription(application, path=path).validate()
    token = "a<b>&\"' +%"
    answer = await application.client.post(
        path, params={"validationToken": token}, content=DOCUMENTED["defender"]
    )
    assert (answer.status_code, answer.text) == (200, token)
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["x-content-type-options"] == "nosniff"
    # Not even with a credential is the body read.
    body = DOCUMENTED["defender"]
    sent = Webhook(f"{PATH}?validationToken=x", credential("defender", body), body)
    assert (await application.post(sent)).text == "x"
    assert await application.stored() == []


@pytest.mark.parametrize(
    "query", ["validationToken=", f"validationToken={'x' * 1025}", "validationToken=%0d%0aA",
              "validationToken=%C3%A9", "validationToken=a&validationToken=b"]
)  # fmt: skip
async def test_another_token_is_refused_not_echoed_contract_74(
    application: Application, query: str
) -> None:
    answer = await application.client.post(f"{PATH}?{query}")
    assert (answer.status_code, answer.json()) == (400, {"detail": "bad request"})
    with pytest.raises(RefusedHandshakeError):
        await subscription(application, path="/webhook/defender").validate()


async def test_of_a_batch_only_the_authentic_ones_are_announced_contract_74(
    application: Application,
) -> None:
    graph = subscription(application)
    before = log.counts["notification.forged"]
    items = [
        graph.notification("da1_1"),
        graph.notification("da1_2", clientState=OTHER_SECRET),
        graph.notification("da1_3", clientState=None),
        graph.notification("da1_1"),
        graph.notification("da1_4", resource="users/x/messages/y"),
        graph.notification("da1_5", resourceData={"id": "../../me"}),
        graph.lifecycle("reauthorizationRequired", clientState=OTHER_SECRET),
    ]
    answer = await graph.push(*items)
    assert (answer.status_code, answer.content) == (202, b"")
    assert await announced(application) == [(TENANT, "da1_1")]
    kept = {raw for _, _, raw, _ in await application.kept()}
    assert {msgspec.json.decode(raw)["clientState"] for raw in kept} == {SECRET}
    assert len(kept) == 2
    assert log.counts["notification.forged"] == before + 1
    await application.ingestion.events.flush()
    [refused] = await events(application.database, SERVICE, "auth.failed")
    assert (refused["notifications"], refused["claimed_tenant"]) == (3, TENANT)
    assert await events(application.database, TENANT, "graph.lifecycle") == []


async def test_a_forged_batch_is_answered_like_a_good_one_contract_74(
    application: Application,
) -> None:
    good, forged = subscription(application), subscription(application, OTHER_SECRET)
    nobody = subscription(application, path="/webhook/defender/nobody")
    answers = [await each.push(each.notification("da1_1")) for each in (good, forged, nobody)]
    assert {(each.status_code, each.content, _lasting(each)) for each in answers} == {
        (202, b"", _lasting(answers[0]))
    }
    assert await announced(application) == [(TENANT, "da1_1")]


def _lasting(answer: httpx.Response) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((k, v) for k, v in answer.headers.items() if k != "x-request-id"))


async def test_the_previous_secret_authenticates_during_a_rotation_contract_74(
    application: Application,
) -> None:
    await application.rotate(TENANT, "defender", OTHER_SECRET, 3600)
    await subscription(application).push(subscription(application).notification("da1_1"))
    assert await announced(application) == [(TENANT, "da1_1")]


@pytest.mark.parametrize("what", ["reauthorizationRequired", "subscriptionRemoved", "missed", "x"])
async def test_an_event_of_the_subscription_is_an_event_and_a_warning_contract_74(
    application: Application, what: str
) -> None:
    graph = subscription(application)
    before = log.counts["graph.lifecycle"]
    assert (await graph.push(graph.lifecycle(what))).status_code == 202
    assert log.counts["graph.lifecycle"] == before + 1
    [told] = await events(application.database, TENANT, "graph.lifecycle")
    assert told["what"] == (what if what != "x" else "unknown")
    assert await announced(application) == ([(TENANT, "")] if what == "missed" else [])


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"value":[]}', b'{"value":[{}]}', b'{"value":[1]}', b'{"value":' + b"[" * 5000,
     b'{"value":[' + b",".join([b'{"subscriptionId":"x"}'] * 1001) + b"]}"],
)  # fmt: skip
async def test_what_is_no_batch_needs_the_credential_contract_74(
    application: Application, body: bytes
) -> None:
    answer = await application.client.post(PATH, content=body)
    assert (answer.status_code, answer.json()) == (401, {"detail": "unauthorized"})
    # With a credential, a batch is a delivery as every other: it is no alert.
    graph = subscription(application)
    batch = msgspec.json.encode({"value": [graph.notification("da1_1")]})
    sent = Webhook(PATH, credential("defender", batch), batch)
    assert (await application.post(sent)).status_code == 422


async def test_an_odd_item_does_not_lose_the_others_contract_74(application: Application) -> None:
    graph = subscription(application)
    odd = [None, 7, {}, {"subscriptionId": ["x"]}]
    batch = msgspec.json.encode({"value": [*odd, graph.notification("da1_1")]})
    assert (await application.client.post(PATH, content=batch)).status_code == 202
    assert await announced(application) == [(TENANT, "da1_1")]


async def test_other_paths_know_no_notifications_contract_74(application: Application) -> None:
    for path, status in (("/webhook/defender", 400), ("/webhook/crowdstrike/acme-corp", 401)):
        graph = subscription(application, path=path)
        assert (await graph.push(graph.notification("da1_1"))).status_code == status
        with pytest.raises(RefusedHandshakeError):
            await graph.validate()
    assert await announced(application) == []


async def test_records_of_an_event_hub_are_one_alert_contract_74(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, *others = ({**each, "tenantId": TENANT} for each in (MACHINE, INFO, PROCESS))
    first = msgspec.json.encode(record)
    answer = await application.post(Webhook(PATH, credential("defender", first), first))
    alert_id = answer.json()["alert_id"]
    batch = msgspec.json.encode({"records": others})
    sent = Webhook(PATH, credential("defender", batch), batch)
    expected = {"status": "queued", "alert_id": alert_id}
    assert (await application.post(sent)).json() == expected
    assert await application.stored() == []
    # Beside an alert, its id comes last.
    both = b"[" + DOCUMENTED["defender"] + b"," + first + b"]"
    ids = (await application.post(Webhook(PATH, credential("defender", both), both))).json()
    assert len(ids["alert_ids"]) == 2
    assert ids["alert_ids"][1] == alert_id
    monkeypatch.setattr(records, "WAIT_S", 0.0)

    async def is_joined() -> bool:
        return len(await application.queued(TENANT)) == 2

    await until(is_joined)
    [joined] = [each for each in await application.queued(TENANT) if each.id == alert_id]
    assert (joined.hostname, joined.process_name) == ("ws-7.corp.example", "rundll32.exe")
    assert (await application.post(sent)).json() == expected
