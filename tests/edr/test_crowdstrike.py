"""CrowdStrike: what is sent for each action, and which answers are believed."""

import asyncio
import threading

import httpx
import pytest

from tests.edr.vendor import FakeVendor, Reply, alert, answer, client_of, deadline, form, order_for
from tests.loop_time import set_loop_time
from vyrox.edr.client import ActionResult, Progress, Target
from vyrox.edr.crowdstrike import rtr
from vyrox.edr.crowdstrike.processes import Process, find_process
from vyrox.edr.crowdstrike.rtr import MAX_OUTPUT_CHARS
from vyrox.errors import VendorError, VendorOutcomeUnknownError
from vyrox.models import Device

AID = "12345678123412341234123456789abc"
OTHER_AID = "ffffffffffffffffffffffffffffffff"
DEVICE = Device(AID, "workstation-01")
COMPOSITE = f"c0ffee:ind:{AID}:173054625122-5733-1234"

QUERY = "/devices/queries/devices/v1"
HOSTS = "/devices/entities/devices/v2"
ACTIONS = "/devices/entities/devices-actions/v2"
ALERTS = "/alerts/entities/alerts/v2"
SESSIONS = "/real-time-response/entities/sessions/v1"
COMMANDS = "/real-time-response/entities/active-responder-command/v1"
QUEUED = "/real-time-response/entities/queued-sessions/command/v1"

PS = """\
Name                  Id      Start Time (UTC+0)       Path
----                  --      ------------------       ----
System                4       6/17/2024 1:00:00 AM
TaniumClient          8316    6/17/2024 11:49:39 AM    C:\\Tanium
"""


def host(status: str | None = "normal", aid: str = AID, **members: object) -> httpx.Response:
    resource = {"device_id": aid, "hostname": "WORKSTATION-01", "status": status, **members}
    return answer(200, {"meta": {}, "resources": [resource], "errors": []})


def accepted(aid: str = AID, errors: object = None) -> httpx.Response:
    return answer(202, {"resources": [{"id": aid, "path": "/devices/x"}], "errors": errors or []})


def entity(**changes: object) -> httpx.Response:
    """Return an alert as the Alerts API gives it, Falcon's own process number included."""
    members = {
        "composite_id": COMPOSITE,
        "device": {"device_id": AID, "hostname": "WORKSTATION-01"},
        "filename": "TaniumClient.exe",
        "local_process_id": "8316",
        "process_id": "173054625122",
        "process_start_time": "1718624979",
    }
    return answer(200, {"resources": [{**members, **changes}], "errors": []})


def session(**changes: object) -> httpx.Response:
    members = {"session_id": "session-1", "offline_queued": False, "platform": "windows"}
    return answer(201, {"resources": [{**members, **changes}], "errors": []})


def command(request_id: str, *, queued: bool = False) -> httpx.Response:
    resource = {"cloud_request_id": request_id, "queued_command_offline": queued}
    return answer(201, {"resources": [resource], "errors": []})


def output(stdout: str = "", stderr: str = "", *, complete: bool = True) -> httpx.Response:
    resource = {"complete": complete, "stdout": stdout, "stderr": stderr, "session_id": "session-1"}
    return answer(200, {"resources": [resource], "errors": []})


@pytest.fixture
def fake() -> FakeVendor:
    """A vendor at which everything goes well: the host is free, and a kill works."""
    fake = FakeVendor()
    fake.on("GET", QUERY, answer(200, {"resources": [AID], "errors": []}))
    fake.on("POST", HOSTS, host())
    fake.on("POST", ACTIONS, accepted())
    fake.on("POST", ALERTS, entity())
    fake.on("POST", SESSIONS, session())
    fake.on("DELETE", SESSIONS, answer(204))
    fake.on("POST", COMMANDS, command("ps-1"), command("kill-1"))
    fake.on("GET", COMMANDS, output(PS), output("killed"))
    return fake


async def found(fake: FakeVendor, name: str, known_id: str | None = None) -> Device:
    async with client_of(fake, "crowdstrike") as client:
        return await client.find_device(name, deadline(), known_id)


async def contained(fake: FakeVendor, device: Device = DEVICE) -> ActionResult:
    async with client_of(fake, "crowdstrike") as client:
        return await client.change("contained", order_for(device))


async def lifted(fake: FakeVendor) -> ActionResult:
    async with client_of(fake, "crowdstrike") as client:
        return await client.change("lifted", order_for(DEVICE))


async def killed(fake: FakeVendor, seconds: float = 30.0) -> ActionResult:
    async with client_of(fake, "crowdstrike") as client:
        return await client.kill(order_for(DEVICE, seconds), alert(COMPOSITE, "crowdstrike"))


async def kill_failure(fake: FakeVendor, *, unknown: bool = False) -> str:
    """Return why a kill failed, once it is sure that it is known, or unknown, as it should be."""
    with pytest.raises(VendorError) as caught:
        await killed(fake)
    assert isinstance(caught.value, VendorOutcomeUnknownError) is unknown
    return str(caught.value)


def killed_commands(fake: FakeVendor) -> list[object]:
    return [body for body in fake.bodies(COMMANDS) if "kill" in str(body)]


# find_device


@pytest.mark.parametrize(
    "name",
    [
        AID,
        AID.upper(),
        "12345678-1234-1234-1234-123456789abc",
        "12345678-1234-1234-1234-123456789ABC",
    ],
)
async def test_find_device_by_agent_id_with_or_without_dashes(fake: FakeVendor, name: str) -> None:
    fake.on("POST", HOSTS, host(tags=["SensorGroupingTags/dc"]))
    expected = Device(AID, "WORKSTATION-01", ("SensorGroupingTags/dc",))
    assert await found(fake, name, AID) == expected
    assert fake.bodies(HOSTS) == [{"ids": [AID]}]
    assert fake.paths == [f"POST {HOSTS}"]


async def test_find_device_by_name(fake: FakeVendor) -> None:
    assert await found(fake, "workstation-01") == Device(AID, "WORKSTATION-01")
    assert dict(fake.requests[0].url.params) == {"filter": "hostname:'workstation-01'"}


async def test_find_device_escapes_the_name(fake: FakeVendor) -> None:
    with pytest.raises(VendorError):
        await found(fake, r"x'+status:'normal\ ")
    assert dict(fake.requests[0].url.params) == {"filter": r"hostname:'x\'+status:\'normal\\ '"}


@pytest.mark.parametrize(
    ("ids", "reply"),
    [
        pytest.param([], host(), id="reject_none"),
        pytest.param([AID, OTHER_AID], host(), id="reject_two"),
        pytest.param(["workstation-01"], host(), id="reject_no_agent_id"),
        pytest.param([AID], host(aid=OTHER_AID), id="reject_another_host"),
        pytest.param([AID], host(hostname="workstation-010"), id="reject_longer_name"),
        pytest.param([AID], host(hostname=None), id="reject_no_name"),
    ],
)
async def test_find_device_wants_exactly_one(
    fake: FakeVendor, ids: list[str], reply: httpx.Response
) -> None:
    fake.on("GET", QUERY, answer(200, {"resources": ids, "errors": []}))
    fake.on("POST", HOSTS, reply)
    with pytest.raises(VendorError):
        await found(fake, "workstation-01")


@pytest.mark.parametrize(
    "reply",
    [
        answer(200, {"resources": [], "errors": []}),
        answer(200, {"resources": None, "errors": [{"code": 404, "message": "not found"}]}),
        answer(404, {"errors": [{"code": 404, "message": "not found"}]}),
        host(aid=OTHER_AID),
        answer(200, {"resources": [{"status": "normal"}]}),
    ],
)
async def test_find_device_by_an_agent_id_that_is_not_there(
    fake: FakeVendor, reply: httpx.Response
) -> None:
    fake.on("POST", HOSTS, reply)
    with pytest.raises(VendorError):
        await found(fake, AID)


# contain, lift


async def test_contain_reads_the_state_and_asks_for_one_host(fake: FakeVendor) -> None:
    assert await contained(fake) == ActionResult(confirmed=False)
    assert fake.asked == [f"POST {HOSTS}", f"POST {ACTIONS}?action_name=contain"]
    assert fake.bodies(ACTIONS) == [{"ids": [AID]}]


async def test_lift_asks_for_its_own_action(fake: FakeVendor) -> None:
    fake.on("POST", HOSTS, host("contained"))
    assert await lifted(fake) == ActionResult(confirmed=False)
    assert fake.asked[-1] == f"POST {ACTIONS}?action_name=lift_containment"


@pytest.mark.parametrize(
    ("status", "done"),
    [
        ("contained", ActionResult(confirmed=True, changed=False)),
        ("containment_pending", ActionResult(confirmed=False, changed=False)),
    ],
)
async def test_contain_sends_nothing_where_it_is_under_way(
    fake: FakeVendor, status: str, done: ActionResult
) -> None:
    fake.on("POST", HOSTS, host(status))
    assert await contained(fake) == done
    assert fake.paths == [f"POST {HOSTS}"]


@pytest.mark.parametrize(
    ("status", "done"),
    [
        ("normal", ActionResult(confirmed=True, changed=False)),
        ("lift_containment_pending", ActionResult(confirmed=False, changed=False)),
    ],
)
async def test_lift_sends_nothing_where_it_is_under_way(
    fake: FakeVendor, status: str, done: ActionResult
) -> None:
    fake.on("POST", HOSTS, host(status))
    assert await lifted(fake) == done
    assert fake.paths == [f"POST {HOSTS}"]


@pytest.mark.parametrize("status", ["normal", "lift_containment_pending", "", None, "new-word"])
async def test_contain_sends_in_any_other_state(fake: FakeVendor, status: str | None) -> None:
    fake.on("POST", HOSTS, host(status))
    await contained(fake)
    assert f"POST {ACTIONS}" in fake.paths


async def test_contain_sends_nothing_where_the_state_cannot_be_read(fake: FakeVendor) -> None:
    fake.on("POST", HOSTS, answer(500))
    with pytest.raises(VendorError) as caught:
        await contained(fake)
    assert type(caught.value) is VendorError
    assert f"POST {ACTIONS}" not in fake.paths


@pytest.mark.parametrize("device_id", ["workstation-01", "", "*", AID + "0", f"{AID}\n"])
async def test_contain_takes_no_name_for_an_id(fake: FakeVendor, device_id: str) -> None:
    with pytest.raises(VendorError):
        await contained(fake, Device(device_id))
    assert fake.requests == []


@pytest.mark.parametrize(
    ("reply", "unknown"),
    [
        pytest.param(answer(202, {"resources": [], "errors": []}), True, id="no-host"),
        pytest.param(accepted(OTHER_AID), True, id="another-host"),
        pytest.param(
            answer(202, {"resources": [], "errors": [{"code": 500, "message": "no"}]}),
            False,
            id="errors",
        ),
        pytest.param(accepted(errors=[{"code": 500}]), True, id="errors-beside-the-host"),
        pytest.param(answer(400, {"resources": [], "errors": [{"code": 400}]}), False, id="400"),
        pytest.param(answer(403, {"errors": [{"code": 403}]}), False, id="403"),
        pytest.param(answer(404, {"errors": []}), False, id="404"),
        pytest.param(answer(500, {"errors": []}), True, id="500"),
        pytest.param(answer(202, b""), True, id="empty"),
        pytest.param(answer(202, b'{"resources":[{"id":'), True, id="cut"),
        pytest.param(answer(202, {"resources": [{"aid": AID}]}), True, id="another-shape"),
        pytest.param(httpx.ReadTimeout("late"), True, id="timeout"),
        pytest.param(httpx.ConnectError("refused"), False, id="refused"),
    ],
)
async def test_contain_after_a_bad_answer(fake: FakeVendor, reply: Reply, unknown: bool) -> None:
    fake.on("POST", ACTIONS, reply)
    with pytest.raises(VendorError) as caught:
        await contained(fake)
    assert isinstance(caught.value, VendorOutcomeUnknownError) is unknown
    assert fake.paths.count(f"POST {ACTIONS}") == 1


@pytest.mark.parametrize(
    ("status", "done"),
    [
        ("contained", ActionResult(confirmed=True, changed=False)),
        ("containment_pending", ActionResult(confirmed=False, changed=False)),
        ("normal", None),
        ("lift_containment_pending", None),
    ],
)
async def test_contain_after_a_conflict_reads_the_state(
    fake: FakeVendor, status: str, done: ActionResult | None
) -> None:
    fake.on("POST", ACTIONS, answer(409, {"resources": [], "errors": [{"code": 409}]}))
    fake.on("POST", HOSTS, host("normal"), host(status))
    if done:
        assert await contained(fake) == done
    else:
        with pytest.raises(VendorError, match="409") as caught:
            await contained(fake)
        assert type(caught.value) is VendorError


# kill


async def test_kill_compares_kills_and_ends_the_session(fake: FakeVendor) -> None:
    assert await killed(fake) == ActionResult(confirmed=True, reference="kill-1")
    assert fake.paths == [
        f"POST {ALERTS}",
        f"POST {SESSIONS}",
        f"POST {COMMANDS}",
        f"GET {COMMANDS}",
        f"POST {COMMANDS}",
        f"GET {COMMANDS}",
        f"DELETE {SESSIONS}",
    ]
    assert fake.bodies(ALERTS) == [{"composite_ids": [COMPOSITE]}]
    assert fake.bodies(SESSIONS) == [{"device_id": AID, "queue_offline": False}]
    assert fake.bodies(COMMANDS) == [
        {"base_command": "ps", "command_string": "ps", "session_id": "session-1"},
        {"base_command": "kill", "command_string": "kill 8316", "session_id": "session-1"},
    ]
    assert dict(fake.requests[-1].url.params) == {"session_id": "session-1"}
    looks = [dict(r.url.params) for r in fake.requests if r.method == "GET"]
    assert looks == [
        {"cloud_request_id": "ps-1", "sequence_id": "0"},
        {"cloud_request_id": "kill-1", "sequence_id": "0"},
    ]


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(entity(device={"device_id": OTHER_AID}), id="reject_another_host"),
        pytest.param(entity(device=None), id="reject_no_host"),
        pytest.param(entity(composite_id="other"), id="reject_another_alert"),
        pytest.param(entity(local_process_id=None), id="reject_no_number"),
        pytest.param(entity(local_process_id=""), id="reject_empty_number"),
        pytest.param(entity(local_process_id="0"), id="reject_zero"),
        pytest.param(entity(local_process_id="08316"), id="reject_leading_zero"),
        pytest.param(entity(local_process_id="-1"), id="reject_negative"),
        pytest.param(entity(local_process_id="8316 --force"), id="reject_options"),
        pytest.param(entity(local_process_id="8316\n"), id="reject_newline"),
        pytest.param(entity(local_process_id="\u0668\u0663"), id="reject_other_digits"),
        pytest.param(entity(local_process_id="4294967296"), id="reject_too_large"),
        pytest.param(entity(local_process_id="173054625122"), id="reject_falcons_number"),
        pytest.param(entity(local_process_id=8316), id="reject_no_text"),
        pytest.param(entity(filename=None), id="reject_no_name"),
        pytest.param(entity(process_start_time=None), id="reject_no_start"),
        pytest.param(entity(process_start_time="0"), id="reject_start_of_1970"),
        pytest.param(entity(process_start_time="soon"), id="reject_odd_start"),
        pytest.param(answer(200, {"resources": [], "errors": []}), id="reject_no_alert"),
        pytest.param(answer(404, {"errors": [{"code": 404}]}), id="reject_404"),
        pytest.param(answer(200, b"{"), id="reject_cut"),
    ],
)
async def test_kill_of_what_the_alert_does_not_tell(fake: FakeVendor, reply: Reply) -> None:
    fake.on("POST", ALERTS, reply)
    await kill_failure(fake)
    assert fake.paths == [f"POST {ALERTS}"]


@pytest.mark.parametrize(
    "listing",
    [
        pytest.param(output(PS.replace("TaniumClient", "notepad     ")), id="reject_other_name"),
        pytest.param(output(PS.replace("11:49:39", "11:50:39")), id="reject_other_start"),
        pytest.param(output(PS.replace("8316", "8317")), id="reject_ended"),
        pytest.param(output("8316 TaniumClient"), id="reject_odd_list"),
        pytest.param(output(""), id="reject_no_list"),
        pytest.param(output(PS, "ps: failed"), id="reject_stderr"),
        pytest.param(answer(500), id="reject_500"),
        pytest.param(answer(404, {"errors": []}), id="reject_404"),
    ],
)
async def test_kill_of_what_the_host_does_not_confirm(fake: FakeVendor, listing: Reply) -> None:
    fake.on("GET", COMMANDS, listing)
    await kill_failure(fake)
    assert killed_commands(fake) == []
    assert fake.paths[-1] == f"DELETE {SESSIONS}"


@pytest.mark.parametrize(
    "reply",
    [
        answer(404, {"errors": [{"code": 40401, "message": "Could not establish sensor comms"}]}),
        answer(201, {"resources": [], "errors": []}),
        answer(201, {"resources": [], "errors": [{"code": 40401, "message": "no comms"}]}),
        answer(403, {"errors": [{"code": 403}]}),
        answer(500),
        answer(201, b"{"),
        httpx.ReadTimeout("late"),
    ],
)
async def test_kill_without_a_session_has_killed_nothing(fake: FakeVendor, reply: Reply) -> None:
    fake.on("POST", SESSIONS, reply)
    await kill_failure(fake)
    assert fake.paths == [f"POST {ALERTS}", f"POST {SESSIONS}"]


async def test_kill_on_an_offline_host_says_so(fake: FakeVendor) -> None:
    error = {"code": 40401, "message": "Could not establish sensor comms"}
    fake.on("POST", SESSIONS, answer(404, {"errors": [error]}))
    assert "40401 Could not establish sensor comms" in await kill_failure(fake)


async def test_kill_in_a_session_that_is_queued_is_not_sent(fake: FakeVendor) -> None:
    fake.on("POST", SESSIONS, session(offline_queued=True))
    await kill_failure(fake)
    assert fake.paths == [f"POST {ALERTS}", f"POST {SESSIONS}", f"DELETE {SESSIONS}"]


@pytest.mark.parametrize("deletion", [answer(204), answer(200, {"resources": []})])
async def test_kill_that_is_queued_is_taken_back(fake: FakeVendor, deletion: Reply) -> None:
    fake.on("POST", COMMANDS, command("ps-1"), command("kill-1", queued=True))
    fake.on("DELETE", QUEUED, deletion)
    await kill_failure(fake)
    taken_back = next(r for r in fake.requests if r.url.path == QUEUED)
    assert dict(taken_back.url.params) == {
        "session_id": "session-1",
        "cloud_request_id": "kill-1",
    }
    assert fake.paths[-1] == f"DELETE {SESSIONS}"


async def test_kill_after_a_list_that_stays_queued_is_not_sent(fake: FakeVendor) -> None:
    fake.on("POST", COMMANDS, command("ps-1", queued=True))
    fake.on("DELETE", QUEUED, answer(403))
    await kill_failure(fake)
    assert killed_commands(fake) == []


@pytest.mark.parametrize("deletion", [answer(403), answer(500), httpx.ReadTimeout("late")])
async def test_kill_that_stays_queued_may_happen(fake: FakeVendor, deletion: Reply) -> None:
    fake.on("POST", COMMANDS, command("ps-1"), command("kill-1", queued=True))
    fake.on("DELETE", QUEUED, deletion)
    await kill_failure(fake, unknown=True)


async def test_kill_after_a_list_that_is_queued_is_not_sent(fake: FakeVendor) -> None:
    fake.on("POST", COMMANDS, command("ps-1", queued=True))
    fake.on("DELETE", QUEUED, answer(204))
    await kill_failure(fake)
    assert killed_commands(fake) == []


@pytest.mark.parametrize(
    ("reply", "unknown"),
    [
        pytest.param(answer(403, {"errors": [{"code": 403}]}), False, id="403"),
        pytest.param(answer(404, {"errors": [{"code": 40407}]}), False, id="404"),
        pytest.param(answer(201, {"errors": [{"code": 500}]}), False, id="errors"),
        pytest.param(httpx.ConnectError("refused"), False, id="refused"),
        pytest.param(answer(500), True, id="500"),
        pytest.param(answer(502, b"<html>"), True, id="502"),
        pytest.param(answer(201, b""), True, id="empty"),
        pytest.param(answer(201, {"resources": []}), True, id="no-command"),
        pytest.param(command(""), True, id="no-identifier"),
        pytest.param(httpx.ReadTimeout("late"), True, id="timeout"),
        pytest.param(httpx.RemoteProtocolError("reset"), True, id="reset"),
    ],
)
async def test_kill_whose_sending_fails(fake: FakeVendor, reply: Reply, unknown: bool) -> None:
    fake.on("POST", COMMANDS, command("ps-1"), reply)
    await kill_failure(fake, unknown=unknown)
    assert len(killed_commands(fake)) == 1
    assert fake.paths[-1] == f"DELETE {SESSIONS}"


@pytest.mark.parametrize(
    "reply",
    [
        answer(403, {"errors": []}),
        answer(404, {"errors": []}),
        answer(500),
        answer(200, b"{"),
        answer(200, {"resources": [], "errors": [{"code": 500}]}),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("late"),
    ],
)
async def test_kill_whose_output_cannot_be_read_may_have_happened(
    fake: FakeVendor, reply: Reply
) -> None:
    fake.on("GET", COMMANDS, output(PS), reply)
    await kill_failure(fake, unknown=True)
    assert len(killed_commands(fake)) == 1
    assert fake.paths[-1] == f"DELETE {SESSIONS}"


async def test_kill_that_the_host_refuses_has_not_happened(fake: FakeVendor) -> None:
    fake.on("GET", COMMANDS, output(PS), output("", "Access is denied\x1b[2J"))
    assert "Access is denied" in await kill_failure(fake)


async def test_kill_waits_for_its_output(fake: FakeVendor) -> None:
    not_yet = output(complete=False)
    nothing = answer(200, {"resources": [], "errors": []})
    fake.on("GET", COMMANDS, not_yet, nothing, output(PS), not_yet, output("killed"))
    assert (await killed(fake)).confirmed
    assert len(fake.slept) == 3


@pytest.mark.parametrize("missing", [answer(404, {"errors": []}), output(complete=False)])
async def test_kill_reads_output_in_parts(fake: FakeVendor, missing: Reply) -> None:
    first, second = output(PS[:90], complete=False), output(PS[90:])
    # Looks: part 0, part 1 not there yet; part 0 again, part 1.
    fake.on("GET", COMMANDS, first, missing, first, second, output("killed"))
    assert (await killed(fake)).confirmed
    looks = [r.url.params["sequence_id"] for r in fake.requests if r.method == "GET"]
    assert looks == ["0", "1", "0", "1", "0"]


async def test_kill_reads_a_part_that_grows(fake: FakeVendor) -> None:
    missing = output(complete=False)
    fake.on("GET", COMMANDS, output(PS[:90], complete=False), missing, output(PS), output("killed"))
    assert (await killed(fake)).confirmed


async def test_kill_with_an_error_in_a_later_part_has_failed(fake: FakeVendor) -> None:
    parts = (output("Killing", complete=False), output("", "no such process"))
    fake.on("GET", COMMANDS, output(PS), *parts)
    await kill_failure(fake)


async def test_kill_with_endless_output_may_have_happened(fake: FakeVendor) -> None:
    fake.on("GET", COMMANDS, output(PS), output("more", complete=False))
    await kill_failure(fake, unknown=True)


async def test_kill_on_a_host_with_a_huge_list_of_processes_sends_none(fake: FakeVendor) -> None:
    part = output("x" * (MAX_OUTPUT_CHARS // 3 + 1), complete=False)
    fake.on("GET", COMMANDS, part)
    assert "too large" in await kill_failure(fake)
    assert len([r for r in fake.requests if r.method == "GET"]) == 3
    (command,) = fake.bodies(COMMANDS)
    assert isinstance(command, dict)
    assert command["base_command"] == "ps"


async def test_kill_that_never_completes_ends_at_the_deadline(
    fake: FakeVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    asleep_s = set_loop_time(monkeypatch)

    async def sleep(seconds: float) -> None:
        asleep_s[0] += max(seconds, 0.1)

    monkeypatch.setattr(fake, "sleep", sleep)
    fake.on("GET", COMMANDS, output(PS), output(complete=False))
    await kill_failure(fake, unknown=True)
    assert fake.paths[-1] == f"DELETE {SESSIONS}"  # though the deadline is over


@pytest.mark.parametrize("reply", [answer(500), answer(404), httpx.ReadTimeout("late")])
async def test_kill_is_done_though_its_session_does_not_end(fake: FakeVendor, reply: Reply) -> None:
    fake.on("DELETE", SESSIONS, reply)
    assert (await killed(fake)).confirmed


async def test_kill_that_is_cancelled_ends_its_session(fake: FakeVendor) -> None:
    async def sleep(_seconds: float) -> None:
        raise asyncio.CancelledError

    fake.on("GET", COMMANDS, output(PS), output(complete=False))
    vars(fake)["sleep"] = sleep
    with pytest.raises(asyncio.CancelledError):
        await killed(fake)
    assert fake.paths[-1] == f"DELETE {SESSIONS}"


async def test_kills_on_one_host_take_turns(fake: FakeVendor) -> None:
    open_sessions, most = 0, 0

    def opening(_request: httpx.Request) -> httpx.Response:
        nonlocal open_sessions, most
        open_sessions += 1
        most = max(most, open_sessions)
        return session()

    def ending(_request: httpx.Request) -> httpx.Response:
        nonlocal open_sessions
        open_sessions -= 1
        return answer(204)

    fake.on("POST", SESSIONS, opening)
    fake.on("DELETE", SESSIONS, ending)
    fake.on("POST", COMMANDS, *[command("ps-1"), command("kill-1")] * 5)
    fake.on("GET", COMMANDS, *[output(complete=False), output(PS), output("killed")] * 5)
    async with client_of(fake, "crowdstrike") as client:
        kill = alert(COMPOSITE, "crowdstrike")
        await asyncio.gather(*(client.kill(order_for(DEVICE), kill) for _ in range(5)))
    assert most == 1


# read_progress, check


@pytest.mark.parametrize(
    ("status", "target", "progress"),
    [
        ("contained", "contained", "reached"),
        ("containment_pending", "contained", "pending"),
        ("normal", "contained", "pending"),
        ("lift_containment_pending", "contained", "pending"),
        ("normal", "lifted", "reached"),
        ("lift_containment_pending", "lifted", "pending"),
        ("contained", "lifted", "pending"),
        ("containment_pending", "lifted", "pending"),
        ("new-word", "contained", "pending"),
        (None, "lifted", "pending"),
    ],
)
async def test_read_progress_reads_the_hosts_state(
    fake: FakeVendor, status: str | None, target: Target, progress: Progress
) -> None:
    fake.on("POST", HOSTS, host(status))
    async with client_of(fake, "crowdstrike") as client:
        assert await client.read_progress(AID, target, None, deadline()) == progress
    assert fake.paths == [f"POST {HOSTS}"]


@pytest.mark.parametrize(
    ("reply", "progress"),
    [
        (output("killed"), "reached"),
        (output("", "no such process"), "failed"),
        (output(complete=False), "pending"),
        (answer(200, {"resources": []}), "pending"),
    ],
)
async def test_read_progress_of_a_kill_reads_its_output(
    fake: FakeVendor, reply: Reply, progress: Progress
) -> None:
    fake.on("GET", COMMANDS, reply)
    async with client_of(fake, "crowdstrike") as client:
        assert await client.read_progress(AID, "killed", "kill-1", deadline()) == progress
        with pytest.raises(VendorError):
            await client.read_progress(AID, "killed", None, deadline())


async def test_check_tells_which_scopes_are_missing(fake: FakeVendor) -> None:
    sessions = "/real-time-response/queries/sessions/v1"
    fake.on("GET", QUERY, answer(200, {"resources": []}))
    fake.on("POST", ALERTS, answer(403))
    fake.on("GET", sessions, answer(200, {"resources": []}))
    fake.on("GET", COMMANDS, answer(404, {"errors": []}))
    async with client_of(fake, "crowdstrike") as client:
        findings = {f.permission: f.present for f in await client.check(deadline())}
    assert findings == {
        "Hosts: Read": True,
        "Hosts: Write": None,
        "Alerts: Read": False,
        "Real time response: Read": True,
        "Real time response: Write": True,
    }
    assert {path.split(" ")[0] for path in fake.paths} <= {"GET", "POST"}
    assert not {ACTIONS, SESSIONS} & {request.url.path for request in fake.requests}


async def test_check_with_a_wrong_secret_says_so(fake: FakeVendor) -> None:
    async with client_of(fake, "crowdstrike") as client:
        fake.on("POST", "/oauth2/token", answer(403, {"errors": [{"code": 403}]}))
        with pytest.raises(VendorError, match="credentials refused"):
            await client.check(deadline())


async def test_token_is_asked_for_once_for_all_calls(fake: FakeVendor) -> None:
    await killed(fake)
    assert len(fake.token_requests) == 1
    assert form(fake.token_requests[0]).keys() == {"client_id", "client_secret"}


@pytest.mark.parametrize("reply", [host(), host(tags=None)], ids=["missing", "null"])
async def test_find_device_tells_no_tags_from_an_answer_without_them_contract_35(
    fake: FakeVendor, reply: httpx.Response
) -> None:
    fake.on("POST", HOSTS, reply)
    assert (await found(fake, "workstation-01")).tags is None
    fake.on("POST", HOSTS, host(tags=[]))
    assert (await found(fake, "workstation-01")).tags == ()


@pytest.mark.parametrize(
    ("shown", "kills"),
    [
        ("C:\\Tanium\\taniumclient.EXE", True),
        ("TaniumClient", True),
        (None, True),
        ("mimikatz.exe", False),
        ("TaniumClient.exe.exe", False),
    ],
)
async def test_kill_compares_the_name_that_the_alert_shows_contract_42(
    fake: FakeVendor, shown: str | None, kills: bool
) -> None:
    async with client_of(fake, "crowdstrike") as client:
        told = alert(COMPOSITE, "crowdstrike", shown)
        if kills:
            assert (await client.kill(order_for(DEVICE), told)).confirmed
        else:
            with pytest.raises(VendorError, match="differs from the vendor"):
                await client.kill(order_for(DEVICE), told)
    assert bool(killed_commands(fake)) is kills


@pytest.mark.parametrize("request_id", ["", "a\0b", "k" * 129, "kill/1"])
async def test_kill_takes_no_odd_identifier_contract_42(fake: FakeVendor, request_id: str) -> None:
    """It would be stored, and become a part of later requests."""
    fake.on("POST", COMMANDS, command("ps-1"), command(request_id))
    await kill_failure(fake, unknown=True)


async def test_kill_reads_the_list_of_processes_off_the_event_loop_contract_42(
    fake: FakeVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []

    def find(listing: str, pid: int) -> Process | None:
        threads.append(threading.get_ident())
        return find_process(listing, pid)

    monkeypatch.setattr(rtr, "find_process", find)
    assert (await killed(fake)).confirmed
    assert len(threads) == 1
    assert threads != [threading.get_ident()]
