"""Signing in, and when a session ends (contract 66)."""

import asyncio
import json
from collections.abc import Callable

import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from tests.approvals.authenticator import UP
from tests.cli import Vyrox, succeeded
from tests.console.running import ORIGIN, TENANT, Browser, Running, ceremonies, unb64
from vyrox.approvals import approvers, keys
from vyrox.clock import wall_clock
from vyrox.console import sessions
from vyrox.console.challenges import LIFE_S, Challenges
from vyrox.errors import UnauthorizedError
from vyrox.settings import Settings
from vyrox.store.tables import console_sessions, passkeys


async def is_in(browser: Browser) -> bool:
    answer = await browser.get("/")
    assert answer.status_code in (200, 303)
    return answer.status_code == 200


def later(seconds: float) -> Callable[[Connection], None]:
    """Let `seconds` pass for all sessions."""

    def change(connection: Connection) -> None:
        c = console_sessions.c
        values = {"created_at": c.created_at - seconds, "seen_at": c.seen_at - seconds}
        connection.execute(console_sessions.update().values(values))

    return change


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites_contract_66(
    opened: Running,
) -> None:
    browser = await opened.person("ann")
    answer = await browser.sign_in()
    name, _, rest = answer.headers["set-cookie"].partition("=")
    session_id, *attributes = rest.split("; ")
    assert name == "__Host-vyrox-session"
    assert sorted(attributes) == ["HttpOnly", "Path=/", "SameSite=lax", "Secure"]
    assert len(unb64(session_id)) == 32
    found = await opened.database.read(lambda c: list(c.execute(sa.select(console_sessions))))
    assert session_id not in repr(found)


async def test_a_session_ends_after_an_hour_without_use_contract_66(opened: Running) -> None:
    browser = await opened.person("ann")
    await opened.database.write(later(3500))
    assert await is_in(browser)
    await opened.database.write(later(3500))
    assert await is_in(browser)
    await opened.database.write(later(3601))
    assert not await is_in(browser)


async def test_a_session_ends_after_12_hours_in_all_contract_66(opened: Running) -> None:
    browser = await opened.person("ann")
    for _ in range(13):
        assert await is_in(browser)
        await opened.database.write(later(3400))
    assert not await is_in(browser)


async def test_a_page_that_refreshes_itself_keeps_no_person_signed_in_contract_66(
    opened: Running,
) -> None:
    browser = await opened.person("ann")
    await opened.database.write(later(3500))
    headers = {"if-none-match": '"x"'}
    assert (await browser.get("/", **headers)).status_code == 200
    await opened.database.write(later(200))
    assert (await browser.get("/", **headers)).status_code == 401


@pytest.mark.parametrize("how", ["signed out", "removed", "key removed", "signed out elsewhere"])
async def test_a_session_can_be_ended_contract_66(
    opened: Running, settings: Settings, how: str
) -> None:
    browser = await opened.person("ann")
    now = wall_clock()
    match how:
        case "signed out":
            assert (await browser.post("/sign-out", {})).status_code == 303
        case "removed":
            await opened.database.write(approvers.remove, TENANT, "ann", "operator", now)
        case "key removed":
            own = await opened.database.read(keys.keys_of, TENANT, "ann")
            await opened.database.write(keys.remove, own, "operator", now)
        case _:
            command = Vyrox(settings.data_dir, settings.database_url)
            words = ("approver", "sign-out", TENANT, "ann")
            printed = succeeded(await asyncio.to_thread(command, *words))
            assert printed == "1 session of ann ended\n"
    assert not await is_in(browser)


async def test_signing_out_after_the_session_has_ended_shows_the_sign_in_page_contract_66(
    opened: Running,
) -> None:
    browser = await opened.person("ann")
    await opened.database.write(later(3601))
    answer = await browser.post("/sign-out", {})
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")


async def test_a_person_has_a_bounded_number_of_sessions_contract_66(opened: Running) -> None:
    first = await opened.person("ann")
    other = opened.browser()
    other.passkey = first.passkey
    for _ in range(sessions.MAX_SESSIONS):
        assert (await other.sign_in()).status_code == 200
    assert not await is_in(first)
    assert await is_in(other)


async def test_nobody_signs_in_with_a_wrong_answer_contract_66(opened: Running) -> None:
    """One wrong thing at a time, and one response for all."""
    person = await opened.person("ann")
    browser = opened.browser()
    browser.passkey = person.passkey
    answers = []

    async def attempt(content: object) -> None:
        answer = await browser.post("/sign-in", content)
        assert "set-cookie" not in answer.headers
        answers.append((answer.status_code, answer.json()))

    async def ceremony() -> dict[str, object]:
        return ceremonies((await browser.get("/sign-in")).text)[0]

    await attempt(browser.answered(await ceremony(), flags=UP))  # not verified
    right = browser.answered(await ceremony())
    other = browser.answered(await ceremony())
    await attempt({**right, "response": other["response"]})  # another challenge
    await attempt({**right, "challenge": right["challenge"].replace(".", ".A", 1)[:-1]})
    stranger = opened.browser()
    stranger.passkey.credential_id = b"unknown"
    await attempt(stranger.answered(await ceremony()))
    stranger.passkey.credential_id = person.passkey.credential_id  # another key of the same id
    await attempt(stranger.answered(await ceremony()))
    elsewhere = await ceremony()
    browser.passkey.origin = "http://evil.localhost:8002"
    await attempt(browser.answered(elsewhere))
    browser.passkey.origin = ORIGIN
    await attempt({**right, "response": {}})
    assert set(map(repr, answers)) == {repr((401, {"detail": "unauthorized"}))}
    assert (await browser.post("/sign-in", right)).status_code == 200
    await attempt(right)  # the same answer again
    assert answers[-1][0] == 401


async def test_a_key_of_a_former_origin_signs_nobody_in_contract_66(opened: Running) -> None:
    """A23: an attacker may have that address today, and use what its pages are answered."""
    browser = await opened.person("ann")
    browser.passkey.origin = "http://localhost:9000"

    def move(connection: Connection) -> None:
        [key] = keys.keys_of(connection, TENANT, "ann")
        members = msgspec.json.encode({**key.members, "origin": "http://localhost:9000"})
        connection.execute(passkeys.update().values(members=members))

    await opened.database.write(move)
    assert (await browser.sign_in()).status_code == 401


async def test_a_key_that_waits_to_be_confirmed_signs_nobody_in_contract_66(
    opened: Running,
) -> None:
    browser = opened.browser()
    key = await browser.enrol(await opened.link_for("ann"))
    assert (await browser.sign_in()).status_code == 401
    await opened.confirm("ann", key["thumbprint"])
    assert (await browser.sign_in()).status_code == 200


def test_a_challenge_opens_for_its_purpose_and_in_time_contract_66() -> None:
    challenges = Challenges("x" * 32)
    challenge, sealed = challenges.make("sign in", 1000.0)
    assert len(challenge) == 32
    assert Challenges("x" * 32).open("sign in", sealed, 1000.0 + LIFE_S - 1) == challenge
    wrong = [
        (challenges, "remove", sealed, 1000.0),
        (challenges, "sign in", sealed, 1000.0 + LIFE_S),
        (Challenges("y" * 32), "sign in", sealed, 1000.0),
        (challenges, "sign in", sealed.replace("1600", "1700"), 1000.0),
        (challenges, "sign in", "", 1000.0),
        (challenges, "sign in", sealed + "0", 1000.0),
    ]
    for made, purpose, text, now in wrong:
        with pytest.raises(UnauthorizedError):
            made.open(purpose, text, now)


async def test_the_sign_in_page_names_no_approver_contract_66(opened: Running) -> None:
    """It is the same for everybody, and stores nothing."""
    await opened.person("robin")
    page = await opened.browser().get("/sign-in")
    [ceremony] = ceremonies(page.text)
    assert ceremony["options"]["allowCredentials"] == []
    assert ceremony["options"]["userVerification"] == "required"
    assert "robin" not in page.text
    assert json.dumps(ceremony).count(TENANT) == 0


async def test_a_link_leads_back_after_the_sign_in_contract_66(opened: Running) -> None:
    answer = await opened.browser().get("/approvals/x")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in#/approvals/x")
