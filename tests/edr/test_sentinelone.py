"""SentinelOne: never more than one agent, and never believed without the count."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.edr.vendor import (
    SECRET,
    FakeVendor,
    Reply,
    alert,
    answer,
    client_of,
    deadline,
    order_for,
)
from vyrox.edr.client import ActionResult, Progress, Target
from vyrox.edr.sentinelone import _only
from vyrox.errors import VendorError, VendorOutcomeUnknownError
from vyrox.models import Device

AGENT = "1742960385517204813"
OTHER = "1742961120948337562"
THREAT = "1745112233445566778"
DEVICE = Device(AGENT, "workstation-07")

AGENTS = "/web/api/v2.1/agents"
THREATS = "/web/api/v2.1/threats"
DISCONNECT = "/web/api/v2.1/agents/actions/disconnect"
CONNECT = "/web/api/v2.1/agents/actions/connect"
KILL = "/web/api/v2.1/threats/mitigate/kill"
ONE = {"filter": {"ids": [AGENT]}, "data": {}}


def agents(*statuses: str | None, **members: object) -> httpx.Response:
    ids = [AGENT, OTHER]
    data = [
        {"id": ids[i], "computerName": "WORKSTATION-07", "networkStatus": status, **members}
        for i, status in enumerate(statuses)
    ]
    return answer(200, {"data": data, "pagination": {"nextCursor": None, "totalItems": len(data)}})


def threat(
    *kills: str, agent_id: object = AGENT, threat_id: str = THREAT, info: object = None
) -> httpx.Response:
    mitigations = [{"action": "quarantine", "status": "success", "actionsCounters": None}]
    mitigations += [{"action": "kill", "status": status} for status in kills]
    found = {
        "id": threat_id,
        "agentRealtimeInfo": {"agentId": agent_id, "agentNetworkStatus": "connected"},
        "mitigationStatus": mitigations,
        "threatInfo": info,
    }
    return answer(200, {"data": [found], "pagination": {"nextCursor": None, "totalItems": 1}})


def affected(count: object, **members: object) -> httpx.Response:
    return answer(200, {"data": {"affected": count}, **members})


@pytest.fixture
def fake() -> FakeVendor:
    fake = FakeVendor()
    fake.on("GET", AGENTS, agents("connected"))
    fake.on("GET", THREATS, threat())
    for path in (DISCONNECT, CONNECT, KILL):
        fake.on("POST", path, affected(1))
    return fake


async def found(fake: FakeVendor, name: str, known_id: str | None = None) -> Device:
    async with client_of(fake, "sentinelone") as client:
        return await client.find_device(name, deadline(), known_id)


async def contained(fake: FakeVendor, device: Device = DEVICE) -> ActionResult:
    async with client_of(fake, "sentinelone") as client:
        return await client.change("contained", order_for(device))


async def lifted(fake: FakeVendor) -> ActionResult:
    async with client_of(fake, "sentinelone") as client:
        return await client.change("lifted", order_for(DEVICE))


async def killed(fake: FakeVendor, raw_id: str = THREAT) -> ActionResult:
    async with client_of(fake, "sentinelone") as client:
        return await client.kill(order_for(DEVICE), alert(raw_id, "sentinelone"))


async def test_find_device_by_agent_id(fake: FakeVendor) -> None:
    tags = {"sentinelone": [{"key": "role", "value": "dc"}, {"key": "vip"}]}
    fake.on("GET", AGENTS, agents("connected", tags=tags))
    assert await found(fake, AGENT, AGENT) == Device(AGENT, "WORKSTATION-07", ("role:dc", "vip"))
    assert fake.asked == [f"GET {AGENTS}?ids={AGENT}"]
    assert fake.requests[0].headers["authorization"] == f"ApiToken {SECRET}"


async def test_find_device_by_name(fake: FakeVendor) -> None:
    assert await found(fake, "workstation-07") == Device(AGENT, "WORKSTATION-07")
    assert fake.asked == [f"GET {AGENTS}?computerName=workstation-07"]


async def test_find_device_by_the_uuid_that_the_alert_names_contract_70(fake: FakeVendor) -> None:
    uuid = "bcc0" * 8
    fake.on("GET", AGENTS, agents("connected", uuid=uuid))
    assert await found(fake, uuid, uuid) == Device(AGENT, "WORKSTATION-07")
    assert fake.asked == [f"GET {AGENTS}?uuids={uuid}"]
    with pytest.raises(VendorError):
        await found(fake, uuid)  # not the alert's: it is a name, which no agent has
    for reply in (agents(), agents("connected", "connected", uuid=uuid), agents("connected")):
        fake.on("GET", AGENTS, reply)
        with pytest.raises(VendorError):
            await found(fake, uuid, uuid)


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(agents(), id="reject_none"),
        pytest.param(agents("connected", "connected"), id="reject_two"),
        pytest.param(agents("connected", computerName="workstation-070"), id="reject_longer_name"),
        pytest.param(agents("connected", computerName=None), id="reject_no_name"),
        pytest.param(agents("connected", id="abc"), id="reject_odd_id"),
        pytest.param(agents("connected", id=7), id="reject_number"),
        pytest.param(agents("connected", tags=["dc"]), id="reject_tags_of_another_shape"),
        pytest.param(answer(200, {"errors": [{"code": 1}], "data": []}), id="reject_errors"),
        pytest.param(answer(403, {"errors": [{"code": 4030010}]}), id="reject_403"),
    ],
)
async def test_find_device_wants_exactly_one(fake: FakeVendor, reply: httpx.Response) -> None:
    fake.on("GET", AGENTS, reply)
    with pytest.raises(VendorError):
        await found(fake, "workstation-07")


async def test_find_device_by_id_believes_no_other_agent(fake: FakeVendor) -> None:
    fake.on("GET", AGENTS, agents("connected", id=OTHER))
    with pytest.raises(VendorError):
        await found(fake, AGENT)


async def test_contain_reads_the_state_and_asks_for_one_agent(fake: FakeVendor) -> None:
    assert await contained(fake) == ActionResult(confirmed=False)
    assert fake.asked == [f"GET {AGENTS}?ids={AGENT}", f"POST {DISCONNECT}"]
    assert fake.bodies(DISCONNECT) == [ONE]


async def test_lift_asks_for_one_agent(fake: FakeVendor) -> None:
    fake.on("GET", AGENTS, agents("disconnected"))
    assert await lifted(fake) == ActionResult(confirmed=False)
    assert fake.bodies(CONNECT) == [ONE]


@pytest.mark.parametrize(
    ("status", "confirmed"), [("disconnected", True), ("disconnecting", False)]
)
async def test_contain_sends_nothing_where_it_is_under_way(
    fake: FakeVendor, status: str, confirmed: bool
) -> None:
    fake.on("GET", AGENTS, agents(status))
    assert await contained(fake) == ActionResult(confirmed=confirmed, changed=False)
    assert fake.paths == [f"GET {AGENTS}"]


@pytest.mark.parametrize(("status", "confirmed"), [("connected", True), ("connecting", False)])
async def test_lift_sends_nothing_where_it_is_under_way(
    fake: FakeVendor, status: str, confirmed: bool
) -> None:
    fake.on("GET", AGENTS, agents(status))
    assert await lifted(fake) == ActionResult(confirmed=confirmed, changed=False)
    assert fake.paths == [f"GET {AGENTS}"]


@pytest.mark.parametrize(
    ("after", "done"),
    [
        ("disconnected", ActionResult(confirmed=True, changed=False)),
        ("disconnecting", ActionResult(confirmed=False, changed=False)),
        ("connected", None),
        ("connecting", None),
    ],
)
async def test_contain_that_affected_nobody_reads_the_state(
    fake: FakeVendor, after: str, done: ActionResult | None
) -> None:
    fake.on("POST", DISCONNECT, affected(0))
    fake.on("GET", AGENTS, agents("connected"), agents(after))
    if done:
        assert await contained(fake) == done
    else:
        with pytest.raises(VendorError) as caught:
            await contained(fake)
        assert type(caught.value) is VendorError


@pytest.mark.parametrize("reply", [affected(2), affected(3, errors=[{"code": 1}]), affected(-1)])
async def test_contain_that_affected_others_is_loud(fake: FakeVendor, reply: Reply) -> None:
    fake.on("POST", DISCONNECT, reply)
    with pytest.raises(VendorOutcomeUnknownError, match="1 host was requested"):
        await contained(fake)


@pytest.mark.parametrize(
    ("reply", "unknown"),
    [
        pytest.param(answer(200, {"errors": [{"code": 4000040}]}), False, id="errors-in-200"),
        pytest.param(affected(0, errors=[{"code": 1}]), False, id="errors-beside-0"),
        pytest.param(affected(1, errors=[{"code": 1}]), True, id="errors-beside-1"),
        pytest.param(affected(None), True, id="null"),
        pytest.param(affected("1"), True, id="text"),
        pytest.param(answer(200, {}), True, id="no-count"),
        pytest.param(answer(200, {"data": []}), True, id="another-shape"),
        pytest.param(answer(200, b""), True, id="empty"),
        pytest.param(answer(400, {"errors": [{"code": 4000010}]}), False, id="400"),
        pytest.param(answer(401, {"errors": [{"code": 4010010}]}), False, id="401"),
        pytest.param(answer(403, {"errors": [{"code": 4030010}]}), False, id="403"),
        pytest.param(answer(404, {"errors": []}), False, id="404"),
        pytest.param(answer(409, {"errors": []}), True, id="409-is-not-documented"),
        pytest.param(answer(500, {"errors": []}), True, id="500"),
        pytest.param(httpx.ReadError("reset"), True, id="reset"),
        pytest.param(httpx.ConnectError("refused"), False, id="refused"),
    ],
)
async def test_contain_after_a_bad_answer(fake: FakeVendor, reply: Reply, unknown: bool) -> None:
    fake.on("POST", DISCONNECT, reply)
    with pytest.raises(VendorError) as caught:
        await contained(fake)
    assert isinstance(caught.value, VendorOutcomeUnknownError) is unknown
    assert fake.paths.count(f"POST {DISCONNECT}") == 1


async def test_contain_after_a_429_waits_and_asks_again(fake: FakeVendor) -> None:
    fake.on("POST", DISCONNECT, answer(429), affected(1))
    assert await contained(fake) == ActionResult(confirmed=False)
    assert len(fake.slept) == 1


@pytest.mark.parametrize("device_id", ["", "abc", "1,2", "1 ", "1\n", "\u0661", "9" * 21, "*"])
async def test_contain_takes_nothing_but_a_numeric_id(fake: FakeVendor, device_id: str) -> None:
    with pytest.raises(VendorError):
        await contained(fake, Device(device_id))
    assert fake.requests == []


@given(st.one_of(st.text(), st.from_regex(r"[0-9, ]*")))
def test_the_filter_selects_exactly_one_or_there_is_none(text: str) -> None:
    try:
        made = _only(text)
    except VendorError:
        return
    assert made == {"ids": [text]}
    assert text
    assert set(text) <= set("0123456789")


async def test_kill_reads_the_threat_and_asks_for_it_alone(fake: FakeVendor) -> None:
    assert await killed(fake) == ActionResult(confirmed=False, reference=f"{THREAT}:0")
    assert fake.asked == [f"GET {THREATS}?ids={THREAT}", f"POST {KILL}"]
    assert fake.bodies(KILL) == [{"filter": {"ids": [THREAT]}, "data": {}}]


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(threat(agent_id=OTHER), id="reject_another_agent"),
        pytest.param(threat(agent_id=None), id="reject_no_agent"),
        pytest.param(threat(threat_id=OTHER), id="reject_another_threat"),
        pytest.param(answer(200, {"data": []}), id="reject_no_threat"),
        pytest.param(answer(200, {"data": [], "errors": [{"code": 1}]}), id="reject_errors"),
        pytest.param(answer(404, {"errors": []}), id="reject_404"),
    ],
)
async def test_kill_of_another_agents_threat_sends_nothing(fake: FakeVendor, reply: Reply) -> None:
    fake.on("GET", THREATS, reply)
    with pytest.raises(VendorError):
        await killed(fake)
    assert fake.paths == [f"GET {THREATS}"]


@pytest.mark.parametrize("raw_id", ["thrt_1234567890abc", "", "1,2"])
async def test_kill_of_what_is_no_threat_asks_nobody(fake: FakeVendor, raw_id: str) -> None:
    with pytest.raises(VendorError):
        await killed(fake, raw_id)
    assert fake.requests == []


@pytest.mark.parametrize(
    ("status", "confirmed"), [("success", True), ("pending", False), ("in_progress", False)]
)
async def test_kill_is_not_repeated(fake: FakeVendor, status: str, confirmed: bool) -> None:
    fake.on("GET", THREATS, threat("failed", status))
    assert await killed(fake) == ActionResult(
        confirmed=confirmed, changed=False, reference=f"{THREAT}:1"
    )
    assert fake.paths == [f"GET {THREATS}"]


async def test_kill_that_failed_before_is_sent_again(fake: FakeVendor) -> None:
    fake.on("GET", THREATS, threat("failed"))
    assert await killed(fake) == ActionResult(confirmed=False, reference=f"{THREAT}:1")


async def test_kill_that_affected_nothing_reads_the_threat(fake: FakeVendor) -> None:
    fake.on("POST", KILL, affected(0))
    fake.on("GET", THREATS, threat(), threat("success"))
    assert await killed(fake) == ActionResult(
        confirmed=True, changed=False, reference=f"{THREAT}:0"
    )
    fake.on("GET", THREATS, threat())
    with pytest.raises(VendorError) as caught:
        await killed(fake)
    assert type(caught.value) is VendorError


@pytest.mark.parametrize(
    ("status", "target", "progress"),
    [
        ("disconnected", "contained", "reached"),
        ("disconnecting", "contained", "pending"),
        ("connected", "contained", "pending"),
        ("connecting", "contained", "pending"),
        ("connected", "lifted", "reached"),
        ("connecting", "lifted", "pending"),
        ("disconnecting", "lifted", "pending"),
    ],
)
async def test_read_progress_reads_the_agents_state(
    fake: FakeVendor, status: str, target: Target, progress: Progress
) -> None:
    fake.on("GET", AGENTS, agents(status))
    async with client_of(fake, "sentinelone") as client:
        assert await client.read_progress(AGENT, target, None, deadline()) == progress
    assert fake.paths == [f"GET {AGENTS}"]


@pytest.mark.parametrize(
    ("kills", "progress"),
    [
        (("success",), "reached"),
        (("failed", "success"), "reached"),
        (("failed",), "failed"),
        (("failed", "pending"), "pending"),
        ((), "pending"),
    ],
)
async def test_read_progress_of_a_kill_reads_the_threat(
    fake: FakeVendor, kills: tuple[str, ...], progress: Progress
) -> None:
    fake.on("GET", THREATS, threat(*kills))
    async with client_of(fake, "sentinelone") as client:
        assert await client.read_progress(AGENT, "killed", THREAT, deadline()) == progress
        with pytest.raises(VendorError):
            await client.read_progress(AGENT, "killed", None, deadline())


@pytest.mark.parametrize(
    ("kills", "progress"),
    [
        (("failed",), "pending"),
        (("failed", "pending"), "pending"),
        (("failed", "failed"), "failed"),
        (("failed", "success"), "reached"),
    ],
)
async def test_read_progress_of_a_kill_does_not_take_an_earlier_failure_for_its_own(
    fake: FakeVendor, kills: tuple[str, ...], progress: Progress
) -> None:
    fake.on("GET", THREATS, threat("failed"))
    reference = (await killed(fake)).reference
    fake.on("GET", THREATS, threat(*kills))
    async with client_of(fake, "sentinelone") as client:
        assert await client.read_progress(AGENT, "killed", reference, deadline()) == progress


async def test_check_only_looks(fake: FakeVendor) -> None:
    fake.on("GET", THREATS, answer(403, {"errors": [{"code": 4030010}]}))
    async with client_of(fake, "sentinelone") as client:
        findings = {f.permission: f.present for f in await client.check(deadline())}
    assert findings["Endpoints: View"] is True
    assert findings["Endpoint Threats: View"] is False
    assert findings["Endpoints: Disconnect From Network"] is None
    assert {request.method for request in fake.requests} == {"GET"}


async def test_check_with_an_ended_token_says_so(fake: FakeVendor) -> None:
    fake.on("GET", AGENTS, answer(401, {"errors": [{"code": 4010010, "detail": None}]}))
    async with client_of(fake, "sentinelone") as client:
        with pytest.raises(VendorError, match="4010010"):
            await client.check(deadline())


@pytest.mark.parametrize(
    "tags", [{}, {"tags": None}, {"tags": {}}, {"tags": {"sentinelone": None}}], ids=str
)
async def test_find_device_tells_no_tags_from_an_answer_without_them_contract_35(
    fake: FakeVendor, tags: dict[str, object]
) -> None:
    fake.on("GET", AGENTS, agents("connected", **tags))
    assert (await found(fake, "workstation-07")).tags is None
    fake.on("GET", AGENTS, agents("connected", tags={"sentinelone": []}))
    assert (await found(fake, "workstation-07")).tags == ()


@pytest.mark.parametrize(
    ("info", "kills"),
    [
        ({"threatName": "psexesvc.EXE"}, True),
        ({"threatName": "Trojan", "filePath": "C:\\Windows\\PSEXESVC.exe"}, True),
        ({"threatName": "Trojan", "originatorProcess": "PSEXESVC.exe"}, True),
        ({"threatName": "mimikatz.exe", "filePath": "C:\\PSEXESVC.exe\\m.exe"}, False),
        ({}, False),
        (None, False),
    ],
)
async def test_kill_compares_the_name_that_the_alert_shows_contract_42(
    fake: FakeVendor, info: object, kills: bool
) -> None:
    fake.on("GET", THREATS, threat(info=info))
    fake.on("POST", KILL, affected(1))
    async with client_of(fake, "sentinelone") as client:
        told = alert(THREAT, "sentinelone", "PSEXESVC.exe")
        if kills:
            assert (await client.kill(order_for(DEVICE), told)).changed
        else:
            with pytest.raises(VendorError, match="differs from the vendor"):
                await client.kill(order_for(DEVICE), told)
    assert bool(fake.bodies(KILL)) is kills
