"""Callers of the mock, which know its vendors' documents and nothing of its code."""

from collections.abc import Mapping

import httpx

from vyrox.trial.mock_edr.app import MockEdr
from vyrox.trial.mock_edr.tokens import ApiClient

Json = dict[str, object]

FORM = {"content-type": "application/x-www-form-urlencoded"}


def client_of(mock: MockEdr, vendor: str) -> ApiClient:
    """Return the API client that `vendor` starts with."""
    clients = {
        "crowdstrike": mock.crowdstrike.clients,
        "sentinelone": mock.sentinelone.clients,
        "defender": mock.defender.clients,
    }[vendor]
    [client] = clients.values()
    return client


class Caller:
    """Calls one vendor, below its base URL, with its credential."""

    def __init__(self, http: httpx.AsyncClient, base: str, authorization: str) -> None:
        self.http = http
        self.base = base
        self.headers: dict[str, str] = {"authorization": authorization}

    async def get(self, path: str, params: object = None) -> httpx.Response:
        return await self.http.get(self.base + path, params=params, headers=self.headers)  # type: ignore[arg-type]

    async def delete(self, path: str, **params: str) -> httpx.Response:
        return await self.http.delete(self.base + path, params=params, headers=self.headers)

    async def post(
        self, path: str, body: object, params: Mapping[str, str] | None = None
    ) -> httpx.Response:
        # Not an empty mapping by default: that would take away the query that `path` has.
        return await self.http.post(
            self.base + path, json=body, params=params, headers=self.headers
        )


class Falcon(Caller):
    """CrowdStrike's calls, by what they do."""

    async def act(self, action: str, *aids: str) -> httpx.Response:
        return await self.post(
            "/devices/entities/devices-actions/v2", {"ids": aids}, {"action_name": action}
        )

    async def status(self, aid: str) -> str:
        answer = await self.get("/devices/entities/devices/v2", {"ids": aid})
        [device] = answer.json()["resources"]
        return str(device["status"])

    async def open_session(self, aid: str, **members: object) -> httpx.Response:
        body = {"device_id": aid, "queue_offline": False, **members}
        return await self.post("/real-time-response/entities/sessions/v1", body, {"timeout": "30"})

    async def session(self, aid: str, **members: object) -> str:
        answer = await self.open_session(aid, **members)
        assert answer.status_code == 201
        return str(answer.json()["resources"][0]["session_id"])

    async def send(self, session_id: str, text: str, /, **members: object) -> httpx.Response:
        body = {
            "base_command": text.partition(" ")[0],
            "command_string": text,
            "session_id": session_id,
            **members,
        }
        return await self.post("/real-time-response/entities/active-responder-command/v1", body)

    async def run(self, session_id: str, text: str) -> str:
        """Send a command and return its `cloud_request_id`."""
        answer = await self.send(session_id, text)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["resources"][0]["cloud_request_id"])

    async def result(self, cloud_request_id: str, sequence: int = 0) -> Json:
        answer = await self.get(
            "/real-time-response/entities/active-responder-command/v1",
            {"cloud_request_id": cloud_request_id, "sequence_id": str(sequence)},
        )
        [result] = answer.json()["resources"]
        assert isinstance(result, dict)
        return result


async def falcon_of(mock: MockEdr, http: httpx.AsyncClient) -> Falcon:
    client = client_of(mock, "crowdstrike")
    answer = await http.post(
        "/crowdstrike/oauth2/token",
        data={"client_id": client.client_id, "client_secret": client.client_secret},
    )
    return Falcon(http, "/crowdstrike", f"Bearer {answer.json()['access_token']}")


def sentinelone_of(mock: MockEdr, http: httpx.AsyncClient) -> Caller:
    token = client_of(mock, "sentinelone").client_secret
    return Caller(http, "/sentinelone/web/api/v2.1", f"ApiToken {token}")


def token_form(mock: MockEdr, **changes: str) -> dict[str, str]:
    """Return the form that Microsoft's token endpoint takes, with `changes`."""
    client = client_of(mock, "defender")
    return {
        "grant_type": "client_credentials",
        "client_id": client.client_id,
        "client_secret": client.client_secret,
        "scope": "https://api.securitycenter.microsoft.com/.default",
        **changes,
    }


def token_path(mock: MockEdr) -> str:
    return f"/defender/login/{mock.defender.tenant_id}/oauth2/v2.0/token"


async def defender_of(mock: MockEdr, http: httpx.AsyncClient, **changes: str) -> Caller:
    answer = await http.post(token_path(mock), data=token_form(mock, **changes))
    assert answer.status_code == 200, answer.text
    return Caller(http, "/defender", f"Bearer {answer.json()['access_token']}")
