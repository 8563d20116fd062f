"""What all of Falcon's endpoints have in common: tokens, authorization and responses.

Source: CrowdStrike's swagger, as gofalcon and falconpy carry it. docs/mock-edr.md lists what
it leaves open, and what this mock does.
"""

from base64 import b64decode
from typing import Final, Literal

import msgspec

from vyrox.trial.mock_edr.exchange import Answer, BadBodyError, Call, Change, RefusedError, as_json
from vyrox.trial.mock_edr.state import CrowdStrike
from vyrox.trial.mock_edr.tokens import ApiClient, Token, bearer

TOKEN_LIFETIME_S: Final = 1799

_MESSAGES: Final = {
    401: "access denied, invalid bearer token",
    403: "access denied, authorization failed",
    404: "404: Page Not Found",
    405: "405: Method Not Allowed",
    409: "conflict with the state of the resource",
    429: "API rate limit exceeded.",
    500: "Internal Server Error: Please provide trace-id to support",
}
_UNKNOWN_CLIENT: Final = (
    "Failed to issue access token - Client authentication failed (e.g., unknown client, "
    "no client authentication included, or unsupported authentication method)"
)


def authorize(state: CrowdStrike, call: Call, scope: str) -> ApiClient:
    """Return the client that sent the request.

    Raises:
        RefusedError: 401 if the token is not valid, 403 if the client lacks `scope`.
    """
    token = state.tokens.get(bearer(call.header("authorization")) or "")
    if token is None or call.now >= token.expires_at or token.client_id not in state.clients:
        raise RefusedError(refuse(state, call, 401))
    client = state.clients[token.client_id]
    if scope not in client.scopes:
        raise RefusedError(refuse(state, call, 403))
    return client


def refuse(_state: CrowdStrike, call: Call, status: int) -> Answer:
    """Return the gateway's response for `status`."""
    return failed(call, status, status, _MESSAGES.get(status, "request failed"))


def failed(call: Call, status: int, code: int, message: str, powered_by: str = "") -> Answer:
    """Return a response with one error and no resources."""
    errors = [{"code": code, "message": message}]
    return as_json(status, {"meta": meta(call, powered_by), "errors": errors})


def succeeded(
    call: Call, status: int, resources: list[object], *changes: Change, powered_by: str = ""
) -> Answer:
    """Return a response with `resources`."""
    body = {"meta": meta(call, powered_by), "resources": resources, "errors": []}
    return as_json(status, body, *changes)


def meta(call: Call, powered_by: str) -> dict[str, object]:
    """Return the `meta` of a response."""
    members: dict[str, object] = {"query_time": 0.012, "trace_id": call.new_id("trace")}
    return members | ({"powered_by": powered_by} if powered_by else {})


def checked_query(call: Call, *known: str) -> None:
    """Return if the endpoint knows all parameters of the query.

    Raises:
        RefusedError: 400.
    """
    if unknown := call.unknown_query(*known):
        raise RefusedError(failed(call, 400, 400, f"unknown query parameter {unknown[0]!r}"))


def issue_token(state: CrowdStrike, call: Call) -> Answer:
    """`oauth2AccessToken`: 201, for a form with a client's id and secret."""
    checked_query(call)
    try:
        form = call.form()
    except BadBodyError as exc:
        return failed(call, 400, 400, f"Failed to issue access token - {exc}", "csam")
    if unknown := form.keys() - {"client_id", "client_secret", "member_cid"}:
        text = f"Failed to issue access token - unknown member {min(unknown)!r}"
        return failed(call, 400, 400, text, "csam")
    client = state.clients.get(form.get("client_id", ""))
    if client is None or not client.has_secret(form.get("client_secret", "")):
        return failed(call, 403, 403, _UNKNOWN_CLIENT, "csam")
    token = call.new_secret("token")
    state.tokens[token] = Token(client.client_id, call.now + TOKEN_LIFETIME_S)
    granted = {
        "access_token": token,
        "expires_in": TOKEN_LIFETIME_S,
        "token_type": "bearer",
    }
    return as_json(201, granted)


def revoke_token(state: CrowdStrike, call: Call) -> Answer:
    """`oauth2RevokeToken`: Basic authentication with id and secret, the token as a form."""
    scheme, _, encoded = (call.header("authorization") or "").partition(" ")
    try:
        client_id, _, secret = b64decode(encoded, validate=True).decode().partition(":")
        token = call.form().get("token", "")
    except (ValueError, BadBodyError) as exc:
        return failed(call, 400, 400, f"Failed to revoke access token - {exc}", "csam")
    client = state.clients.get(client_id)
    if scheme.lower() != "basic" or client is None or not client.has_secret(secret):
        return failed(call, 403, 403, _UNKNOWN_CLIENT, "csam")
    state.tokens.pop(token, None)
    return as_json(200, {"meta": meta(call, "csam"), "errors": []})


def with_errors(answer: Answer) -> Answer:
    """Return a 2xx with errors and no resources in its body."""
    body = msgspec.json.decode(answer.body or b"{}", type=dict[str, object])
    errors = [{"code": 500, "message": "internal error"}]
    return as_json(answer.status, {**body, "resources": [], "errors": errors})


def complete(state: CrowdStrike, call: Call, answer: Answer) -> Answer:
    """Return `answer` with the headers of all of Falcon's responses."""
    headers = {
        **answer.headers,
        "x-cs-region": state.region,
        "x-cs-traceid": call.new_id("trace"),
        "x-ratelimit-limit": str(state.rate_limit),
        "x-ratelimit-remaining": str(state.rate_limit_remaining),
    }
    return Answer(answer.status, answer.body, headers, answer.changes, answer.violation)


def limit(answer: Answer, now: float, wait_s: float, unit: Literal["s", "ms"]) -> Answer:
    """Return a 429 with the time from which a retry is allowed."""
    at = int((now + wait_s) * 1000) if unit == "ms" else int(now + wait_s)
    headers = {**answer.headers, "x-ratelimit-remaining": "0", "x-ratelimit-retryafter": str(at)}
    return Answer(answer.status, answer.body, headers)
