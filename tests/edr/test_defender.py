"""Microsoft Defender: a machine's actions show its state, and no other action replaces a kill."""

import base64
import json
from datetime import UTC, datetime

import httpx
import pytest

from tests.audit import NOW
from tests.edr.vendor import (
    AZURE_TENANT,
    FakeVendor,
    Reply,
    alert,
    answer,
    client_of,
    deadline,
    form,
    order_for,
    token,
)
from vyrox.edr.client import ActionResult, Progress, Target
from vyrox.errors import VendorError, VendorOutcomeUnknownError
from vyrox.models import Device, Isolation

MACHINE = "8d2f61c0b7e94a35d1f08c6b52e7a9403fd6b18e"
OTHER = "f" * 40
DEVICE = Device(MACHINE, "workstation-01.acme.local")
FIRST = "5382f7ea-7557-4ab7-9782-d50480024a4e"
SECOND = "2e9da30d-27f6-4208-81f2-9cd3d67893ba"

MACHINES = "/api/machines"
ACTIONS = "/api/machineactions"
ISOLATE = f"/api/machines/{MACHINE}/isolate"
UNISOLATE = f"/api/machines/{MACHINE}/unisolate"

FRESH_S = 15 * 60
"""How long an action shows the state (contract 41)."""

Action = dict[str, object]


def action(
    kind: str = "Isolate",
    status: str = "Pending",
    at: int = 1,
    age_s: float = 60,
    **changes: object,
) -> Action:
    """Return a machine action as the documentation shows it.

    It was made in the minute `at` of the hour before now, and last updated `age_s` ago.
    """
    return {
        "id": FIRST,
        "type": kind,
        "requestor": "app",
        "requestorComment": "by jane",
        "status": status,
        "machineId": MACHINE,
        "creationDateTimeUtc": ticks(NOW - 3600 + 60 * at),
        "lastUpdateDateTimeUtc": ticks(NOW - age_s),
        "scope": "Full" if kind == "Isolate" else None,
        **changes,
    }


def ticks(seconds: float) -> str:
    """Return Unix seconds as Microsoft writes them, with seven digits of a fraction."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S.%f}0Z"


def actions(*found: Action) -> httpx.Response:
    return answer(200, {"@odata.context": "x", "value": list(found)})


def machine(**changes: object) -> dict[str, object]:
    made: dict[str, object] = {"id": MACHINE, "computerDnsName": "Workstation-01.acme.local"}
    return {**made, "machineTags": ["dc"], "healthStatus": "Active", **changes}


def already_active() -> httpx.Response:
    error = {"code": "ActiveRequestAlreadyExists", "message": "Action is already in progress"}
    return answer(400, {"error": {**error, "target": "9f04e6ac-0000-0000-0000-000000000000"}})


@pytest.fixture
def fake() -> FakeVendor:
    fake = FakeVendor()
    fake.on("GET", f"{MACHINES}/{MACHINE}", answer(200, machine()))
    fake.on("GET", MACHINES, answer(200, {"value": [machine()]}))
    fake.on("GET", ACTIONS, actions())
    fake.on("POST", ISOLATE, answer(201, action()))
    fake.on("POST", UNISOLATE, answer(201, action("Unisolate")))
    return fake


async def found(fake: FakeVendor, name: str, known_id: str | None = None) -> Device:
    async with client_of(fake, "defender") as client:
        return await client.find_device(name, deadline(), known_id)


async def contained(fake: FakeVendor, device: Device = DEVICE) -> ActionResult:
    async with client_of(fake, "defender") as client:
        return await client.change("contained", order_for(device))


async def lifted(fake: FakeVendor) -> ActionResult:
    async with client_of(fake, "defender") as client:
        return await client.change("lifted", order_for(DEVICE))


@pytest.mark.parametrize("name", [MACHINE, MACHINE.upper()])
async def test_find_device_by_machine_id(fake: FakeVendor, name: str) -> None:
    assert await found(fake, name, MACHINE) == Device(MACHINE, "Workstation-01.acme.local", ("dc",))
    assert fake.asked == [f"GET {MACHINES}/{MACHINE}"]


async def test_find_device_by_name(fake: FakeVendor) -> None:
    assert (await found(fake, "workstation-01.acme.local")).id == MACHINE
    assert dict(fake.requests[0].url.params) == {
        "$filter": "computerDnsName eq 'workstation-01.acme.local'"
    }


def none() -> httpx.Response:
    """Return the documented response if no machine matches."""
    return answer(404, {"error": {"code": "ResourceNotFound"}})


@pytest.mark.parametrize("first", [none(), answer(200, {"value": []})])
@pytest.mark.parametrize("name", ["workstation-01", "WORKSTATION-01"])
async def test_find_device_by_the_first_part_of_its_name_contract_73(
    fake: FakeVendor, name: str, first: httpx.Response
) -> None:
    fake.on("GET", MACHINES, first, answer(200, {"value": [machine()]}))
    assert (await found(fake, name)).id == MACHINE
    assert [dict(each.url.params) for each in fake.requests] == [
        {"$filter": f"computerDnsName eq '{name}'"},
        {"$filter": f"startswith(computerDnsName,'{name}.')"},
    ]


@pytest.mark.parametrize(
    "reply",
    [
        none(),
        answer(200, {"value": [machine(), machine(id=OTHER)]}),
        answer(200, {"value": [machine()], "@odata.nextLink": "https://x"}),
        answer(200, {"value": [machine(computerDnsName="workstation-011.acme.local")]}),
        answer(200, {"value": [machine(computerDnsName="workstation-01")]}),
    ],
)
async def test_find_device_by_the_first_part_wants_exactly_one_contract_73(
    fake: FakeVendor, reply: httpx.Response
) -> None:
    fake.on("GET", MACHINES, none(), reply)
    if b'"workstation-01"' in reply.content:  # it was enrolled just now
        assert (await found(fake, "workstation-01")).id == MACHINE
        return
    with pytest.raises(VendorError):
        await found(fake, "workstation-01")


async def test_find_device_escapes_the_name(fake: FakeVendor) -> None:
    with pytest.raises(VendorError):
        await found(fake, "x' or '1' eq '1")
    assert fake.requests[0].url.params["$filter"] == ("computerDnsName eq 'x'' or ''1'' eq ''1'")


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(answer(200, {"value": []}), id="reject_none"),
        pytest.param(answer(200, {"value": [machine(), machine(id=OTHER)]}), id="reject_two"),
        pytest.param(
            answer(200, {"value": [machine()], "@odata.nextLink": "https://x"}), id="reject_more"
        ),
        pytest.param(
            answer(200, {"value": [machine(computerDnsName="workstation-01")]}),
            id="reject_other_name",
        ),
        pytest.param(answer(200, {"value": [machine(computerDnsName=None)]}), id="reject_no_name"),
        pytest.param(answer(200, {"value": [machine(id="../x")]}), id="reject_odd_id"),
        pytest.param(answer(404, {"error": {"code": "NotFound"}}), id="reject_404"),
    ],
)
async def test_find_device_wants_exactly_one(fake: FakeVendor, reply: Reply) -> None:
    fake.on("GET", MACHINES, reply)
    with pytest.raises(VendorError):
        await found(fake, "workstation-01.acme.local")


@pytest.mark.parametrize(
    "reply", [answer(200, machine(id=OTHER)), answer(404, {"error": {"code": "NotFound"}})]
)
async def test_find_device_by_id_believes_no_other_machine(fake: FakeVendor, reply: Reply) -> None:
    fake.on("GET", f"{MACHINES}/{MACHINE}", reply)
    with pytest.raises(VendorError):
        await found(fake, MACHINE)


async def test_token_is_for_machine_actions(fake: FakeVendor) -> None:
    await found(fake, MACHINE)
    request = fake.token_requests[0]
    assert str(request.url) == (
        f"https://login.microsoftonline.com/{AZURE_TENANT}/oauth2/v2.0/token"
    )
    assert form(request)["scope"] == ["https://api.securitycenter.microsoft.com/.default"]
    assert fake.requests[0].headers["authorization"] == "Bearer token-1"


async def test_contain_reads_the_actions_and_isolates_fully(fake: FakeVendor) -> None:
    assert await contained(fake) == ActionResult(confirmed=False, reference=FIRST)
    assert fake.paths == [f"GET {ACTIONS}", f"POST {ISOLATE}"]
    assert fake.bodies(ISOLATE) == [{"Comment": "by jane", "IsolationType": "Full"}]
    query = {"$filter": f"machineId eq '{MACHINE}'", "$top": "100"}
    assert dict(fake.requests[0].url.params) == query


async def test_lift_asks_for_the_end_of_isolation(fake: FakeVendor) -> None:
    fake.on("GET", ACTIONS, actions(action("Isolate", "Succeeded", id=SECOND)))
    assert await lifted(fake) == ActionResult(confirmed=False, reference=FIRST)
    assert fake.bodies(UNISOLATE) == [{"Comment": "by jane"}]


async def test_lift_of_a_machine_without_actions_is_sent(fake: FakeVendor) -> None:
    assert await lifted(fake) == ActionResult(confirmed=False, reference=FIRST)


ISOLATED = ActionResult(confirmed=True, changed=False, reference=FIRST)
ISOLATING = ActionResult(confirmed=False, changed=False, reference=FIRST)


@pytest.mark.parametrize(
    ("before", "done"),
    [
        pytest.param([action(status="Succeeded")], ISOLATED, id="isolated"),
        pytest.param([action(status="Pending")], ISOLATING, id="pending"),
        pytest.param([action(status="InProgress")], ISOLATING, id="in-progress"),
        pytest.param([action(status="NewWord")], ISOLATING, id="unknown-status"),
        pytest.param(
            [action("Unisolate", "Succeeded", at=1, id=SECOND), action(status="Succeeded", at=2)],
            ISOLATED,
            id="isolated-again-oldest-first",
        ),
        pytest.param(
            [action(status="Failed", at=3, id=SECOND), action(status="Succeeded", at=2)],
            ISOLATED,
            id="a-failed-one-changes-nothing",
        ),
        pytest.param(
            [action("Unisolate", "TimeOut", at=3), action(status="Succeeded", at=2)],
            ISOLATED,
            id="a-failed-end-changes-nothing",
        ),
        pytest.param(
            [action("RunAntiVirusScan", "Succeeded", at=3), action(status="Succeeded", at=2)],
            ISOLATED,
            id="other-kinds-change-nothing",
        ),
    ],
)
async def test_contain_sends_nothing_where_it_is_under_way(
    fake: FakeVendor, before: list[Action], done: ActionResult
) -> None:
    fake.on("GET", ACTIONS, actions(*before))
    assert await contained(fake) == done
    assert fake.paths == [f"GET {ACTIONS}"]


@pytest.mark.parametrize(
    "before",
    [
        pytest.param([action(status="Failed")], id="failed"),
        pytest.param([action(status="Cancelled")], id="cancelled"),
        pytest.param([action(status="TimeOut")], id="timed-out"),
        pytest.param([action("Unisolate", "Succeeded")], id="lifted"),
        pytest.param(
            [action("Isolate", "Succeeded", at=1), action("Unisolate", "Pending", at=2)],
            id="being-lifted",
        ),
        pytest.param([action(status="Succeeded", scope="Selective")], id="half-isolated"),
        pytest.param([action(status="Succeeded", machineId=OTHER)], id="another-machine"),
        # Contract 41: an isolation can end without an action.
        pytest.param([action(status="Succeeded", age_s=FRESH_S + 1)], id="too-old"),
        pytest.param([action(status="Succeeded", age_s=-FRESH_S - 1)], id="in-future"),
        pytest.param(
            [action(status="Succeeded", lastUpdateDateTimeUtc=None)], id="too-old-by-its-creation"
        ),
    ],
)
async def test_contain_sends_in_any_other_state(fake: FakeVendor, before: list[Action]) -> None:
    fake.on("GET", ACTIONS, actions(*({**each, "id": SECOND} for each in before)))
    assert (await contained(fake)).changed


@pytest.mark.parametrize(
    "reply",
    [
        answer(403),
        answer(500),
        answer(200, {"value": [{"id": FIRST}]}),
        answer(200, {"value": [], "error": {"code": "InternalServerError"}}),
        actions(*(action("RunAntiVirusScan", at=i // 2) for i in range(100))),
        actions(action(creationDateTimeUtc="2018-12-04T12:18:57")),
    ],
)
async def test_contain_sends_nothing_where_the_state_cannot_be_read(
    fake: FakeVendor, reply: Reply
) -> None:
    fake.on("GET", ACTIONS, reply)
    with pytest.raises(VendorError) as caught:
        await contained(fake)
    assert type(caught.value) is VendorError
    assert fake.paths == [f"GET {ACTIONS}"]


@pytest.mark.parametrize("device_id", ["", "workstation-01", "..", f"{MACHINE}/x", f"{MACHINE}\n"])
async def test_contain_takes_no_name_for_an_id(fake: FakeVendor, device_id: str) -> None:
    with pytest.raises(VendorError):
        await contained(fake, Device(device_id))
    assert fake.requests == []


async def test_contain_reads_one_page_where_it_has_the_latest(fake: FakeVendor) -> None:
    latest_first = [action(status="Succeeded", at=59)]
    latest_first += [action("RunAntiVirusScan", at=59 - i // 2) for i in range(99)]
    fake.on("GET", ACTIONS, actions(*latest_first))
    assert await contained(fake) == ISOLATED


async def test_contain_of_what_was_asked_for_before_takes_that(fake: FakeVendor) -> None:
    fake.on("POST", ISOLATE, already_active())
    fake.on("GET", ACTIONS, actions(), actions(action(id=SECOND)))
    assert await contained(fake) == ActionResult(confirmed=False, changed=False, reference=SECOND)


@pytest.mark.parametrize(
    "listed",
    [
        pytest.param([], id="not-listed-yet"),
        pytest.param([action("Unisolate", "Succeeded")], id="only-an-end-is-listed"),
        pytest.param([action(status="Succeeded", age_s=FRESH_S + 1)], id="only-an-old-one"),
    ],
)
async def test_contain_that_the_vendor_has_in_progress_is_taken_on_contract_41(
    fake: FakeVendor, listed: list[Action]
) -> None:
    """Before, it was reported as `failed`. No state was read, so it is not confirmed."""
    fake.on("POST", ISOLATE, already_active())
    fake.on("GET", ACTIONS, actions(*listed))
    assert await contained(fake) == ActionResult(confirmed=False, changed=False)


async def test_contain_that_is_pending_for_long_is_asked_for_again_contract_41(
    fake: FakeVendor,
) -> None:
    fake.on("POST", ISOLATE, already_active())
    fake.on("GET", ACTIONS, actions(action(age_s=FRESH_S + 1)))
    assert await contained(fake) == ISOLATING
    assert fake.paths == [f"GET {ACTIONS}", f"POST {ISOLATE}", f"GET {ACTIONS}"]


async def test_contain_answered_with_an_action_in_progress_has_changed_nothing_contract_34(
    fake: FakeVendor,
) -> None:
    """An analyst's, which is old and still pending: it does not become Vyrox's."""
    fake.on("GET", ACTIONS, actions(action(age_s=FRESH_S + 1)))
    assert await contained(fake) == ISOLATING
    assert fake.paths == [f"GET {ACTIONS}", f"POST {ISOLATE}"]


async def test_contain_answered_with_an_old_action_is_not_confirmed_contract_41(
    fake: FakeVendor,
) -> None:
    old = action(status="Succeeded", age_s=FRESH_S + 1)
    fake.on("GET", ACTIONS, actions(old))
    fake.on("POST", ISOLATE, answer(201, old))
    assert await contained(fake) == ActionResult(confirmed=False, changed=False)


@pytest.mark.parametrize(
    "after", [actions(action("Unisolate", "Pending")), actions(action(scope="Selective"))]
)
async def test_contain_beside_an_action_of_another_kind_fails(
    fake: FakeVendor, after: Reply
) -> None:
    fake.on("POST", ISOLATE, already_active())
    fake.on("GET", ACTIONS, actions(), after)
    with pytest.raises(VendorError, match="ActiveRequestAlreadyExists") as caught:
        await contained(fake)
    assert type(caught.value) is VendorError


async def test_contain_that_has_succeeded_at_once_is_confirmed(fake: FakeVendor) -> None:
    fake.on("POST", ISOLATE, answer(201, action(status="Succeeded")))
    assert await contained(fake) == ActionResult(confirmed=True, reference=FIRST)


@pytest.mark.parametrize(
    ("reply", "unknown"),
    [
        pytest.param(answer(201, action(status="Failed")), False, id="failed-at-once"),
        pytest.param(answer(201, action(machineId=OTHER)), True, id="another-machine"),
        pytest.param(answer(201, action("Unisolate")), True, id="another-kind"),
        pytest.param(answer(201, action(id="../x")), True, id="odd-id"),
        pytest.param(answer(201, {"id": FIRST}), True, id="another-shape"),
        pytest.param(
            answer(201, {**action(), "error": {"code": "InternalServerError"}}),
            True,
            id="error-beside-the-action",
        ),
        pytest.param(answer(201, b""), True, id="empty"),
        pytest.param(answer(400, {"error": {"code": "InvalidInput"}}), False, id="400"),
        pytest.param(answer(400, {"error": "invalid"}), False, id="400-of-another-shape"),
        pytest.param(answer(400, b"<html>"), False, id="400-html"),
        pytest.param(answer(401, {"error": {"code": "Unauthorized"}}), False, id="401"),
        pytest.param(answer(403, {"error": {"code": "Forbidden"}}), False, id="403"),
        pytest.param(answer(404, {"error": {"code": "ResourceNotFound"}}), False, id="404"),
        pytest.param(answer(409, {"error": {"code": "Conflict"}}), True, id="409-not-documented"),
        pytest.param(answer(500, {"error": {"code": "InternalServerError"}}), True, id="500"),
        pytest.param(httpx.ReadTimeout("late"), True, id="timeout"),
        pytest.param(httpx.ConnectTimeout("away"), False, id="away"),
    ],
)
async def test_contain_after_a_bad_answer(fake: FakeVendor, reply: Reply, unknown: bool) -> None:
    fake.on("POST", ISOLATE, reply)
    with pytest.raises(VendorError) as caught:
        await contained(fake)
    assert isinstance(caught.value, VendorOutcomeUnknownError) is unknown


async def test_kill_is_nothing_that_defender_does(fake: FakeVendor) -> None:
    async with client_of(fake, "defender") as client:
        with pytest.raises(VendorError) as caught:
            await client.kill(order_for(DEVICE), alert("da1", "defender"))
        assert type(caught.value) is VendorError
        with pytest.raises(VendorError):
            await client.read_progress(MACHINE, "killed", FIRST, deadline())
    assert fake.requests == []


@pytest.mark.parametrize(
    ("status", "progress"),
    [
        ("Pending", "pending"),
        ("InProgress", "pending"),
        ("Succeeded", "reached"),
        ("Failed", "failed"),
        ("TimeOut", "failed"),
        ("Cancelled", "failed"),
        ("NewWord", "pending"),
    ],
)
async def test_read_progress_reads_the_action(
    fake: FakeVendor, status: str, progress: Progress
) -> None:
    fake.on("GET", f"{ACTIONS}/{FIRST}", answer(200, action(status=status)))
    async with client_of(fake, "defender") as client:
        assert await client.read_progress(MACHINE, "contained", FIRST, deadline()) == progress
    assert fake.asked == [f"GET {ACTIONS}/{FIRST}"]


@pytest.mark.parametrize("changes", [{"machineId": OTHER}, {"type": "Unisolate"}, {"id": SECOND}])
async def test_read_progress_believes_no_other_action(
    fake: FakeVendor, changes: dict[str, str]
) -> None:
    fake.on("GET", f"{ACTIONS}/{FIRST}", answer(200, {**action(), **changes}))
    async with client_of(fake, "defender") as client:
        with pytest.raises(VendorError):
            await client.read_progress(MACHINE, "contained", FIRST, deadline())


async def test_read_progress_puts_no_odd_reference_into_a_path(fake: FakeVendor) -> None:
    async with client_of(fake, "defender") as client:
        with pytest.raises(VendorError):
            await client.read_progress(MACHINE, "contained", "../machines", deadline())
    assert fake.requests == []


@pytest.mark.parametrize(
    ("found_actions", "target", "progress"),
    [
        ([action(status="Succeeded")], "contained", "reached"),
        ([action(status="Pending")], "contained", "pending"),
        ([action(status="Failed")], "contained", "pending"),
        # Not listed, so perhaps not listed yet: an unknown outcome is never reported as `failed`.
        ([], "contained", "pending"),
        ([action(status="Succeeded")], "lifted", "pending"),
        # Contract 41: an old action is not the one just sent, and shows no state.
        ([action(status="Succeeded", age_s=FRESH_S + 1)], "contained", "pending"),
        ([action(status="Succeeded", scope="Selective")], "contained", "pending"),
        (
            [action("Unisolate", "InProgress", at=2), action(status="Succeeded")],
            "lifted",
            "pending",
        ),
    ],
)
async def test_read_progress_without_a_reference_reads_the_latest(
    fake: FakeVendor, found_actions: list[Action], target: Target, progress: Progress
) -> None:
    fake.on("GET", ACTIONS, actions(*found_actions))
    async with client_of(fake, "defender") as client:
        assert await client.read_progress(MACHINE, target, None, deadline()) == progress


@pytest.mark.parametrize(
    ("listed", "contained_by"),
    [
        ([], ()),
        ([action(status="Succeeded", age_s=10 * FRESH_S)], (FIRST,)),
        ([action(status="Pending"), action(status="Failed", id=SECOND)], ()),
        ([action(status="Succeeded"), action("Unisolate", "Succeeded", at=2)], ()),
        ([action(status="Succeeded"), action("Unisolate", "Failed", at=2)], (FIRST,)),
        (
            [
                action(status="Succeeded"),
                action("Unisolate", "Succeeded", at=2),
                action(status="Succeeded", at=3, id=SECOND),
            ],
            (SECOND,),
        ),
        (
            [action(status="Succeeded"), action(status="Succeeded", at=3, id=SECOND)],
            (SECOND, FIRST),
        ),
    ],
)
async def test_read_containment_names_the_isolations_since_the_last_end_contract_34(
    fake: FakeVendor, listed: list[Action], contained_by: tuple[str, ...]
) -> None:
    fake.on("GET", ACTIONS, actions(*listed))
    async with client_of(fake, "defender") as client:
        found = await client.read_containment(MACHINE, deadline())
    assert found == tuple(Isolation(each, "by jane") for each in contained_by)
    assert fake.paths == [f"GET {ACTIONS}"]


def jwt(claims: object) -> httpx.Response:
    parts = [{"alg": "RS256"}, claims]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in parts]
    return token(".".join(part.rstrip("=") for part in [*encoded, "c2ln"]), 3599, 200)


@pytest.mark.parametrize(
    ("reply", "isolates", "reads"),
    [
        (jwt({"roles": ["Machine.Isolate", "Machine.Read.All"]}), True, True),
        (jwt({"roles": ["Machine.ReadWrite.All"]}), False, True),
        (jwt({"roles": []}), False, False),
        (jwt({"scp": "x"}), None, None),
        (jwt(["roles"]), None, None),
        (token("opaque", 3599, 200), None, None),
        (token("a.!.b", 3599, 200), None, None),
        (token("a.\u007e\u007e\u007e.b", 3599, 200), None, None),
    ],
)
async def test_check_reads_the_roles_of_the_token(
    fake: FakeVendor, reply: httpx.Response, isolates: bool | None, reads: bool | None
) -> None:
    async with client_of(fake, "defender") as client:
        fake.on("POST", f"/{AZURE_TENANT}/oauth2/v2.0/token", reply)
        findings = {f.permission: f.present for f in await client.check(deadline())}
    assert findings == {"Machine.Isolate": isolates, "Machine.Read.All": reads}
    assert fake.requests == []


async def test_check_with_a_wrong_secret_says_so_without_its_names(fake: FakeVendor) -> None:
    refusal = {
        "error": "invalid_client",
        "error_description": f"AADSTS7000215: Invalid client secret for app {AZURE_TENANT}",
        "error_codes": [7000215],
    }
    async with client_of(fake, "defender") as client:
        fake.on("POST", f"/{AZURE_TENANT}/oauth2/v2.0/token", answer(401, refusal))
        with pytest.raises(VendorError, match="invalid_client 7000215") as caught:
            await client.check(deadline())
    assert AZURE_TENANT not in str(caught.value)


@pytest.mark.parametrize("tags", [None, "missing"])
async def test_find_device_tells_no_tags_from_an_answer_without_them_contract_35(
    fake: FakeVendor, tags: str | None
) -> None:
    found_machine = machine(machineTags=None)
    if tags == "missing":
        del found_machine["machineTags"]
    fake.on("GET", f"{MACHINES}/{MACHINE}", answer(200, found_machine))
    assert (await found(fake, MACHINE, MACHINE)).tags is None
    fake.on("GET", f"{MACHINES}/{MACHINE}", answer(200, machine(machineTags=[])))
    assert (await found(fake, MACHINE, MACHINE)).tags == ()
