"""CrowdStrike's Real Time Response: sessions, `ps`, `kill`, and their results."""

import pytest

from tests.trial.mock_edr import Falcon, client_of
from vyrox.trial.mock_edr.app import MockEdr
from vyrox.trial.mock_edr.fleet import FILE_SRV_02, LAPTOP_23, WORKSTATION_01
from vyrox.trial.mock_edr.state import RtrBehavior, RtrSession
from vyrox.trial.mock_edr.tokens import ApiClient

RTR = "/real-time-response/entities"


def behavior(mock: MockEdr) -> RtrBehavior:
    return mock.crowdstrike.devices[WORKSTATION_01].rtr


async def test_open_session_is_201_with_what_the_vendor_says(falcon: Falcon) -> None:
    answer = await falcon.open_session(WORKSTATION_01)

    assert answer.status_code == 201
    [session] = answer.json()["resources"]
    assert session["offline_queued"] is False
    assert session["platform"] == "windows"
    assert session["scripts"] == []
    assert session["existing_aid_sessions"] == 0
    assert session.keys() >= {"session_id", "created_at", "pwd"}


async def test_a_client_has_one_session_for_each_host(falcon: Falcon) -> None:
    first = await falcon.session(WORKSTATION_01)
    again = await falcon.session(WORKSTATION_01)
    other = await falcon.session(FILE_SRV_02)

    assert first == again != other


async def test_another_client_has_a_session_of_its_own(mock: MockEdr, falcon: Falcon) -> None:
    first = await falcon.session(WORKSTATION_01)
    other = ApiClient(
        client_id="other",
        client_secret="other",
        scopes={"real-time-response:read", "real-time-response:write"},
    )
    mock.crowdstrike.clients["other"] = other
    answer = await falcon.http.post(
        "/crowdstrike/oauth2/token", data={"client_id": "other", "client_secret": "other"}
    )
    stranger = Falcon(falcon.http, falcon.base, f"Bearer {answer.json()['access_token']}")
    opened = await stranger.open_session(WORKSTATION_01)

    [session] = opened.json()["resources"]
    assert session["session_id"] != first
    assert session["existing_aid_sessions"] == 1
    assert (await stranger.send(first, "ps")).status_code == 404


async def test_list_sessions_has_the_clients_own(mock: MockEdr, falcon: Falcon) -> None:
    path = "/real-time-response/queries/sessions/v1"
    session_id = await falcon.session(WORKSTATION_01)
    mock.crowdstrike.sessions["other"] = RtrSession(
        session_id="other",
        client_id="other",
        device_id=WORKSTATION_01,
        used_at=mock.clock.now(),
        is_queued=False,
    )
    assert (await falcon.get(path, {"limit": "1"})).json()["resources"] == [session_id]

    client_of(mock, "crowdstrike").scopes.clear()
    assert (await falcon.get(path)).status_code == 403


async def test_an_offline_host_is_40401(mock: MockEdr, falcon: Falcon) -> None:
    answer = await falcon.open_session(LAPTOP_23)

    assert answer.status_code == 404
    assert answer.json()["errors"] == [
        {"code": 40401, "message": "Could not establish sensor comms"}
    ]
    assert mock.crowdstrike.sessions == {}


async def test_a_host_that_goes_offline_is_40401(mock: MockEdr, falcon: Falcon) -> None:
    session = await falcon.session(WORKSTATION_01)
    mock.crowdstrike.devices[WORKSTATION_01].is_online = False
    answer = await falcon.send(session, "kill 4312")

    assert answer.status_code == 404
    assert answer.json()["errors"][0]["code"] == 40401
    assert mock.effects == []


async def test_an_unknown_host_is_404(falcon: Falcon) -> None:
    assert (await falcon.open_session("f" * 32)).status_code == 404


async def test_a_queued_kill_runs_when_the_host_returns(mock: MockEdr, falcon: Falcon) -> None:
    opened = await falcon.open_session(LAPTOP_23, queue_offline=True)
    [session] = opened.json()["resources"]
    sent = await falcon.send(session["session_id"], "kill 4312")
    [command] = sent.json()["resources"]
    mock.tick()
    before = await falcon.result(command["cloud_request_id"])

    assert (session["offline_queued"], command["queued_command_offline"]) == (True, True)
    assert before["complete"] is False
    assert mock.effects == []
    mock.crowdstrike.devices[LAPTOP_23].is_online = True
    mock.tick()
    assert [(each.what, each.detail) for each in mock.effects] == [("kill", "4312 mimikatz")]
    assert mock.effects[0].request is None
    mock.tick()
    assert len(mock.effects) == 1


async def test_a_queued_command_can_be_deleted(mock: MockEdr, falcon: Falcon) -> None:
    session = await falcon.session(LAPTOP_23, queue_offline=True)
    command = await falcon.run(session, "kill 4312")
    path = f"{RTR}/queued-sessions/command/v1"
    deleted = await falcon.delete(path, session_id=session, cloud_request_id=command)
    mock.crowdstrike.devices[LAPTOP_23].is_online = True
    mock.tick()

    assert (deleted.status_code, deleted.content) == (204, b"")
    assert mock.effects == []
    again = await falcon.delete(path, session_id=session, cloud_request_id=command)
    assert again.status_code == 404


async def test_a_host_can_queue_what_nobody_asked_it_to(mock: MockEdr, falcon: Falcon) -> None:
    behavior(mock).queues_anyway = True
    opened = await falcon.open_session(WORKSTATION_01, queue_offline=False)
    [session] = opened.json()["resources"]
    sent = await falcon.send(session["session_id"], "kill 4312")

    assert session["offline_queued"] is True
    assert sent.json()["resources"][0]["queued_command_offline"] is True
    assert mock.effects == []


async def test_a_session_ends_when_it_is_idle(mock: MockEdr, falcon: Falcon) -> None:
    session = await falcon.session(WORKSTATION_01)
    mock.clock.advance(599)
    assert (await falcon.send(session, "ps")).status_code == 201
    mock.clock.advance(600)

    assert (await falcon.send(session, "ps")).status_code == 404
    assert await falcon.session(WORKSTATION_01) != session


async def test_a_session_is_refreshed(mock: MockEdr, falcon: Falcon) -> None:
    session = await falcon.session(WORKSTATION_01)
    mock.clock.advance(599)
    answer = await falcon.post(f"{RTR}/refresh-session/v1", {"device_id": WORKSTATION_01})
    mock.clock.advance(599)

    assert answer.status_code == 201
    assert (await falcon.send(session, "ps")).status_code == 201


async def test_refresh_is_refused_for_a_host_offline_and_for_another_body(falcon: Falcon) -> None:
    offline = await falcon.post(f"{RTR}/refresh-session/v1", {"device_id": LAPTOP_23})
    other = await falcon.post(f"{RTR}/refresh-session/v1", {"session_id": "x"})

    assert offline.json()["errors"][0]["code"] == 40401
    assert other.status_code == 400


async def test_close_session_is_204_without_a_body(mock: MockEdr, falcon: Falcon) -> None:
    session = await falcon.session(WORKSTATION_01)
    answer = await falcon.delete(f"{RTR}/sessions/v1", session_id=session)
    again = await falcon.delete(f"{RTR}/sessions/v1", session_id=session)

    assert (answer.status_code, answer.content) == (204, b"")
    assert "content-type" not in answer.headers
    assert again.status_code == 404
    assert mock.crowdstrike.sessions == {}


async def test_kill_ends_the_process_at_once_and_once(mock: MockEdr, falcon: Falcon) -> None:
    session = await falcon.session(WORKSTATION_01)
    sent = await falcon.send(session, "kill 4312")

    [command] = sent.json()["resources"]
    assert sent.status_code == 201
    assert command.keys() == {"session_id", "cloud_request_id", "queued_command_offline"}
    assert command["queued_command_offline"] is False
    result = await falcon.result(command["cloud_request_id"])
    assert (result["complete"], result["stderr"]) == (True, "")
    assert 4312 not in mock.crowdstrike.devices[WORKSTATION_01].processes
    [effect] = mock.effects
    assert (effect.device_id, effect.what, effect.detail) == (
        WORKSTATION_01,
        "kill",
        "4312 mimikatz",
    )


async def test_a_second_kill_is_complete_with_stderr(mock: MockEdr, falcon: Falcon) -> None:
    session = await falcon.session(WORKSTATION_01)
    await falcon.run(session, "kill 4312")
    result = await falcon.result(await falcon.run(session, "kill 4312"))

    assert result["complete"] is True
    assert "4312" in str(result["stderr"])
    assert len(mock.effects) == 1


@pytest.mark.parametrize(
    "text", [pytest.param(text, id=f"reject_{text[5:]}") for text in ("kill mimikatz", "kill -1")]
)
async def test_kill_takes_a_number(mock: MockEdr, falcon: Falcon, text: str) -> None:
    session = await falcon.session(WORKSTATION_01)
    result = await falcon.result(await falcon.run(session, text))

    assert result["stderr"]
    assert mock.effects == []


async def test_kill_can_be_denied(mock: MockEdr, falcon: Falcon) -> None:
    behavior(mock).stderr["kill"] = "Access is denied"
    session = await falcon.session(WORKSTATION_01)
    result = await falcon.result(await falcon.run(session, "kill 4312"))

    assert (result["complete"], result["stderr"]) == (True, "Access is denied")
    assert 4312 in mock.crowdstrike.devices[WORKSTATION_01].processes
    assert mock.effects == []


async def test_a_command_is_complete_at_the_look_that_was_set(
    mock: MockEdr, falcon: Falcon
) -> None:
    behavior(mock).polls_until_complete = 3
    session = await falcon.session(WORKSTATION_01)
    command = await falcon.run(session, "ps")
    looks = [await falcon.result(command) for _ in range(3)]

    assert [look["complete"] for look in looks] == [False, False, True]
    assert looks[0]["stdout"] == ""
    assert "mimikatz" in str(looks[2]["stdout"])


async def test_a_command_can_never_complete(mock: MockEdr, falcon: Falcon) -> None:
    behavior(mock).never_completes.add("kill")
    session = await falcon.session(WORKSTATION_01)
    command = await falcon.run(session, "kill 4312")
    mock.tick()
    looks = [await falcon.result(command) for _ in range(20)]

    assert not any(look["complete"] for look in looks)
    assert mock.effects == []


async def test_output_comes_in_two_sequences(mock: MockEdr, falcon: Falcon) -> None:
    session = await falcon.session(WORKSTATION_01)
    whole = await falcon.result(await falcon.run(session, "ps"))
    behavior(mock).is_split = True
    command = await falcon.run(session, "ps")
    first, second = [await falcon.result(command, sequence) for sequence in (0, 1)]

    assert (first["complete"], second["complete"]) == (False, True)
    assert (first["sequence_id"], second["sequence_id"]) == (0, 1)
    assert f"{first['stdout']}{second['stdout']}" == whole["stdout"]
    assert first["stdout"] != ""
    assert second["stdout"] != ""


async def test_ps_lists_name_pid_and_local_start_time(mock: MockEdr, falcon: Falcon) -> None:
    session = await falcon.session(WORKSTATION_01)
    result = await falcon.result(await falcon.run(session, "ps"))

    lines = str(result["stdout"]).splitlines()
    [line] = [line for line in lines if line.startswith("mimikatz")]
    assert line.split()[:5] == ["mimikatz", "4312", "12/31/2025", "11:56:00", "PM"]
    assert "StartTime (UTC+0)" in lines[0]
    assert len(lines) == 2 + len(mock.crowdstrike.devices[WORKSTATION_01].processes)


async def test_ps_tells_time_in_the_hosts_zone(mock: MockEdr, falcon: Falcon) -> None:
    behavior(mock).utc_offset_h = -5
    session = await falcon.session(WORKSTATION_01)
    result = await falcon.result(await falcon.run(session, "ps"))

    assert "StartTime (UTC-5)" in str(result["stdout"])
    assert "12/31/2025 6:56:00 PM" in str(result["stdout"])


async def test_ps_can_say_something_else(mock: MockEdr, falcon: Falcon) -> None:
    behavior(mock).stdout["ps"] = "nothing of the kind"
    session = await falcon.session(WORKSTATION_01)
    result = await falcon.result(await falcon.run(session, "ps"))

    assert result["stdout"] == "nothing of the kind"


async def test_ps_goes_by_the_read_only_call_and_kill_does_not(
    mock: MockEdr, falcon: Falcon
) -> None:
    session = await falcon.session(WORKSTATION_01)
    answers = [
        await falcon.post(
            f"{RTR}/command/v1",
            {"base_command": name, "command_string": text, "session_id": session},
        )
        for name, text in (("ps", "ps"), ("kill", "kill 4312"))
    ]
    [command] = answers[0].json()["resources"]
    looked = await falcon.get(
        f"{RTR}/command/v1",
        {"cloud_request_id": command["cloud_request_id"], "sequence_id": "0"},
    )

    assert [answer.status_code for answer in answers] == [201, 403]
    assert looked.json()["resources"][0]["complete"] is True
    assert mock.effects == []


@pytest.mark.parametrize(
    ("members", "status"),
    [
        pytest.param({"base_command": None}, 400, id="reject_null_base_command"),
        pytest.param({"base_command": "ps"}, 400, id="reject_other_base_command"),
        pytest.param({"base_command": "run"}, 403, id="reject_admin_command"),
        pytest.param({"command_string": 4312}, 400, id="reject_number"),
        pytest.param({"command_string": "4312"}, 400, id="reject_arguments_alone"),
        pytest.param({"pid": 4312}, 400, id="reject_unknown_member"),
        pytest.param({"session_id": "wrong"}, 404, id="reject_unknown_session"),
        pytest.param({"persist": "false"}, 400, id="reject_text_for_boolean"),
        pytest.param({"id": "1"}, 400, id="reject_text_for_number"),
    ],
)
async def test_command_bodies_are_checked_member_by_member(
    mock: MockEdr, falcon: Falcon, members: dict[str, object], status: int
) -> None:
    session = await falcon.session(WORKSTATION_01)
    answer = await falcon.send(session, "kill 4312", **members)

    assert answer.status_code == status
    assert answer.json()["errors"]
    assert mock.effects == []


@pytest.mark.parametrize("member", ["base_command", "command_string", "session_id"])
async def test_command_bodies_lack_nothing(mock: MockEdr, falcon: Falcon, member: str) -> None:
    session = await falcon.session(WORKSTATION_01)
    body = {"base_command": "kill", "command_string": "kill 4312", "session_id": session}
    del body[member]
    answer = await falcon.post(f"{RTR}/active-responder-command/v1", body)

    assert answer.status_code == 400
    assert mock.effects == []


@pytest.mark.parametrize(
    ("params", "body"),
    [
        pytest.param({"timeout": "301"}, {}, id="reject_timeout_too_long"),
        pytest.param({"timeout": "0"}, {}, id="reject_timeout_0"),
        pytest.param({"timeout_duration": "6m"}, {}, id="reject_duration_too_long"),
        pytest.param({"timeout_duration": "soon"}, {}, id="reject_duration"),
        pytest.param({"queue": "1"}, {}, id="reject_unknown_query"),
        pytest.param({}, {"queue_offline": "false"}, id="reject_text_for_boolean"),
        pytest.param({}, {"hostname": "workstation-01"}, id="reject_unknown_member"),
    ],
)
async def test_open_session_is_400(
    mock: MockEdr, falcon: Falcon, params: dict[str, str], body: dict[str, object]
) -> None:
    answer = await falcon.post(f"{RTR}/sessions/v1", {"device_id": WORKSTATION_01, **body}, params)

    assert answer.status_code == 400
    assert mock.crowdstrike.sessions == {}


@pytest.mark.parametrize(
    ("params", "status"),
    [
        pytest.param({"cloud_request_id": "{id}"}, 400, id="reject_no_sequence"),
        pytest.param(
            {"cloud_request_id": "{id}", "sequence_id": "x"}, 400, id="reject_sequence_no_number"
        ),
        pytest.param(
            {"cloud_request_id": "wrong", "sequence_id": "0"}, 404, id="reject_unknown_command"
        ),
        pytest.param(
            {"cloud_request_id": "{id}", "sequence_id": "0", "wait": "1"},
            400,
            id="reject_unknown_query",
        ),
    ],
)
async def test_a_result_is_refused(falcon: Falcon, params: dict[str, str], status: int) -> None:
    command = await falcon.run(await falcon.session(WORKSTATION_01), "ps")
    sent = {name: value.format(id=command) for name, value in params.items()}
    answer = await falcon.get(f"{RTR}/active-responder-command/v1", sent)

    assert answer.status_code == status


async def test_a_sequence_beyond_the_last_is_404(falcon: Falcon) -> None:
    command = await falcon.run(await falcon.session(WORKSTATION_01), "ps")
    await falcon.result(command)
    answer = await falcon.get(
        f"{RTR}/active-responder-command/v1", {"cloud_request_id": command, "sequence_id": "1"}
    )

    assert answer.status_code == 404


async def test_a_command_that_changes_something_else_is_a_violation(
    mock: MockEdr, falcon: Falcon
) -> None:
    session = await falcon.session(WORKSTATION_01)
    answer = await falcon.send(session, r"rm C:\Windows")

    assert answer.status_code == 400
    assert mock.violations == ["crowdstrike: RTR command rm"]


async def test_a_client_that_lost_the_write_scope_cannot_kill(
    mock: MockEdr, falcon: Falcon
) -> None:
    session = await falcon.session(WORKSTATION_01)
    client_of(mock, "crowdstrike").scopes.remove("real-time-response:write")
    answer = await falcon.send(session, "kill 4312")

    assert answer.status_code == 403
    assert mock.effects == []
