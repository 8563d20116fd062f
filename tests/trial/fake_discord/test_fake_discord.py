"""The fake Discord refuses what Discord refuses, and signs what it sends (contract 67)."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.audit import Clock
from tests.trial.fake_discord.endpoint import Endpoint
from vyrox.trial.fake_discord.app import FakeDiscord
from vyrox.trial.fake_discord.clicks import UPDATE
from vyrox.trial.fake_discord.world import RefusedError
from vyrox.trial.mock_edr.serve import serving

BUTTON = {"type": 2, "style": 3, "label": "Approve", "custom_id": "v1:a:x"}


@pytest.fixture
def fake() -> FakeDiscord:
    return FakeDiscord(Clock(), Clock())


@pytest.fixture
async def http(fake: FakeDiscord) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(fake.app),
        base_url="http://discord.test/api/v10",
        headers={
            "authorization": f"Bot {fake.world.bot_token}",
            "user-agent": "DiscordBot (https://x.invalid, 1)",
        },
    ) as client:
        yield client


def rows(*buttons: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"type": 1, "components": list(buttons)}]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"content": "x" * 2001},
        {"content": "x", "nonce": "n" * 26},
        {"content": "x", "components": rows({**BUTTON, "custom_id": "c" * 101})},
        {"content": "x", "components": rows(BUTTON, BUTTON)},
        {"content": "x", "components": rows(*({**BUTTON, "custom_id": str(n)} for n in range(6)))},
        {"content": "x", "embeds": [{"title": "t" * 257}]},
        {"content": "x", "embeds": [{"description": "d" * 3001}] * 2},
        {"content": "x", "allowed_mentions": {"parse": ["roles"], "roles": ["1"]}},
    ],
)
async def test_what_discord_refuses_is_refused_contract_67(
    fake: FakeDiscord, http: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    response = await http.post(f"/channels/{fake.world.channel_id}/messages", json=body)
    assert response.status_code == 400
    assert response.json()["code"] in {50006, 50035}


async def test_only_the_bot_is_let_in_contract_67(
    fake: FakeDiscord, http: httpx.AsyncClient
) -> None:
    wrong = {"authorization": "Bot other"}
    assert (await http.get("/users/@me", headers=wrong)).status_code == 401
    assert (await http.get("/users/@me", headers={"user-agent": "curl"})).status_code == 403
    assert (await http.get("/channels/1")).json()["code"] == 10003
    found = (await http.get("/users/@me")).json()
    assert found["id"] == fake.world.bot_user_id


async def test_a_bucket_is_used_up_and_filled_again_contract_67(
    fake: FakeDiscord, http: httpx.AsyncClient
) -> None:
    path = f"/channels/{fake.world.channel_id}/messages"
    for left in (4, 3, 2, 1, 0):
        response = await http.post(path, json={"content": "x"})
        assert response.headers["x-ratelimit-remaining"] == str(left)
    limited = await http.post(path, json={"content": "x"})
    assert (limited.status_code, limited.json()["global"]) == (429, False)
    assert limited.json()["retry_after"] == 5.0
    clock = fake.world.clock
    assert isinstance(clock, Clock)
    clock.now += 5.0
    assert (await http.post(path, json={"content": "x"})).status_code == 200


@pytest.mark.parametrize(
    ("refusal", "pong", "words"), [(200, 1, "bad signature"), (401, 4, "ping"), (401, 1, None)]
)
async def test_an_endpoint_is_attacked_before_it_is_taken_contract_67(
    fake: FakeDiscord, http: httpx.AsyncClient, refusal: int, pong: int, words: str | None
) -> None:
    async with serving(Endpoint(fake.world.public_key, refusal, pong)) as url:
        endpoint = f"{url}/interactions"
        response = await http.patch(
            "/applications/@me", json={"interactions_endpoint_url": endpoint}
        )
    assert (response.status_code == 200) == (words is None)
    assert fake.world.endpoint == (endpoint if words is None else None)
    assert words is None or words in response.text


async def test_a_click_is_signed_and_its_answer_applied_contract_67(fake: FakeDiscord) -> None:
    """Components that the answer leaves out stay: the fake is as unforgiving as Discord."""
    message = fake.world.post(
        fake.world.channel_id, {"content": "text", "components": rows(BUTTON)}
    )
    service = Endpoint(fake.world.public_key)
    async with serving(service) as url:
        fake.world.endpoint = f"{url}/interactions"
        answer = await fake.clicks.press(message["id"], "a", "200000000000000001")
        assert (answer.status, answer.kind, answer.is_shown) == (200, UPDATE, True)
        assert message["content"] == "done"
        assert message["components"] == rows(BUTTON)
        service.answer = {"type": 4, "data": {"content": "psst", "flags": 64}}
        quiet = await fake.clicks.press(message["id"], "v1:a:x", "200000000000000002")
    assert quiet.is_ephemeral
    assert fake.world.seen == [("200000000000000002", {"content": "psst", "flags": 64})]
    [click, _] = service.got
    assert click["message"]["content"] == "text"
    assert click["member"]["user"]["id"] == "200000000000000001"
    assert click["application_id"] == fake.world.application_id


async def test_a_modal_is_submitted_with_the_reason_contract_67(fake: FakeDiscord) -> None:
    message = fake.world.post(
        fake.world.channel_id, {"content": "text", "components": rows(BUTTON)}
    )
    service = Endpoint(fake.world.public_key)
    field = {"type": 4, "custom_id": "reason", "style": 2, "label": "Why"}
    service.answer = {
        "type": 9,
        "data": {"custom_id": "v1:r:x", "title": "Reject", "components": rows(field)},
    }
    async with serving(service) as url:
        fake.world.endpoint = f"{url}/interactions"
        await fake.clicks.press(message["id"], "a", "200000000000000001", comment="too risky")
    modal = service.got[-1]
    assert (modal["type"], modal["data"]["custom_id"]) == (5, "v1:r:x")
    assert modal["data"]["components"][0]["components"][0]["value"] == "too risky"
    assert modal["message"]["id"] == message["id"]


async def test_it_is_driven_from_another_process_contract_67(
    fake: FakeDiscord, http: httpx.AsyncClient
) -> None:
    message = fake.world.post(
        fake.world.channel_id, {"content": "text", "components": rows(BUTTON)}
    )
    control = "http://discord.test/_fake"
    shown = (await http.get(f"{control}/messages")).json()
    assert shown[fake.world.channel_id][0]["content"] == "text"
    press = {"message": message["id"], "button": "z", "user": "200000000000000001"}
    refused = await http.post(f"{control}/press", json=press)
    assert refused.status_code == 404
    no_account = await http.post(f"{control}/press", json={**press, "user": "42"})
    assert no_account.status_code == 400
    planned = await http.post(f"{control}/faults", json={"kind": "status", "count": 1})
    assert planned.status_code == 200
    assert (await http.get("/users/@me")).status_code == 503
    with pytest.raises(RefusedError, match="Unknown Application Command"):
        await fake.clicks.slash("status", "200000000000000001")
