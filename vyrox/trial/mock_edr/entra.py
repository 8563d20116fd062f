"""Microsoft's token endpoint, and the authorization with its tokens.

Source: Microsoft's pages on the client credentials flow and its AADSTS errors.
"""

import re
from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from typing import Final

import msgspec

from vyrox.trial.mock_edr.exchange import Answer, BadBodyError, Call, RefusedError, as_json
from vyrox.trial.mock_edr.state import Defender
from vyrox.trial.mock_edr.tokens import ApiClient, Token, bearer

TOKEN_LIFETIME_S: Final = 3599

DEFENDER: Final = "https://api.securitycenter.microsoft.com"
GRAPH: Final = "https://graph.microsoft.com"
"""The two audiences. Each refuses tokens for the other."""

_SCOPE_SUFFIX: Final = "/.default"
_FIELDS: Final = ("grant_type", "client_id", "client_secret", "scope")

_REFUSALS: Final = {
    7000215: (401, "invalid_client", "Invalid client secret provided."),
    7000222: (401, "invalid_client", "The provided client secret keys are expired."),
    700016: (400, "unauthorized_client", "Application was not found in the directory."),
    90002: (400, "invalid_request", "Tenant not found."),
    900144: (400, "invalid_request", "The request body must contain the required parameters."),
    70003: (400, "unsupported_grant_type", "The app requested an unsupported grant type."),
    1002012: (400, "invalid_scope", "The scope must be one resource with /.default suffixed."),
    500011: (400, "invalid_resource", "The resource principal was not found in the tenant."),
}


def issue_token(state: Defender, call: Call) -> Answer:
    """Issue a token for one audience, for a form with a client's id and secret."""
    try:
        form = call.form()
    except BadBodyError:
        form = {}
    refusal = _refusal(state, call, form)
    if refusal is not None:
        return _refused(call, refusal)
    client = state.clients[form["client_id"]]
    audience = form["scope"].removesuffix(_SCOPE_SUFFIX)
    token = _new_token(call, client, audience, state.tenant_id)
    state.tokens[token] = Token(client.client_id, call.now + TOKEN_LIFETIME_S, audience)
    granted = {
        "token_type": "Bearer",
        "expires_in": TOKEN_LIFETIME_S,
        "ext_expires_in": TOKEN_LIFETIME_S,
        "access_token": token,
    }
    return as_json(200, granted)


def _refusal(state: Defender, call: Call, form: dict[str, str]) -> int | None:
    """Return the number of the error, or None if a token can be issued."""
    if call.params["tenant"] != state.tenant_id:
        return 90002
    if not all(form.get(name) for name in _FIELDS):
        return 900144
    if form["grant_type"] != "client_credentials":
        return 70003
    client = state.clients.get(form["client_id"])
    if client is None:
        return 700016
    if not client.has_secret(form["client_secret"]):
        return 7000215
    if client.secret_expires_at is not None and call.now >= client.secret_expires_at:
        return 7000222
    return _scope_refusal(form["scope"])


def _scope_refusal(scope: str) -> int | None:
    audience = scope.removesuffix(_SCOPE_SUFFIX)
    if audience == scope or " " in audience:
        return 1002012
    return None if audience in {DEFENDER, GRAPH} else 500011


def _new_token(call: Call, client: ApiClient, audience: str, tenant_id: str) -> str:
    """Return a token in the form of a JWT, with an invalid signature."""
    claims = {
        "aud": audience,
        "iss": f"https://sts.windows.net/{tenant_id}/",
        "iat": int(call.now),
        "exp": int(call.now) + TOKEN_LIFETIME_S,
        "appid": client.client_id,
        "roles": sorted(client.scopes),
        "tid": tenant_id,
        "uti": call.new_id("token"),
    }
    parts = (
        msgspec.json.encode({"typ": "JWT", "alg": "RS256"}),
        msgspec.json.encode(claims),
        call.new_secret("signature").encode(),
    )
    return ".".join(urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def _refused(call: Call, number: int) -> Answer:
    status, error, text = _REFUSALS[number]
    trace_id, correlation_id = call.new_id("trace"), call.new_id("correlation")
    at = datetime.fromtimestamp(call.now, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    body = {
        "error": error,
        "error_description": f"AADSTS{number}: {text} Trace ID: {trace_id} "
        f"Correlation ID: {correlation_id} Timestamp: {at}",
        "error_codes": [number],
        "timestamp": at,
        "trace_id": trace_id,
        "correlation_id": correlation_id,
        "error_uri": f"https://login.microsoftonline.com/error?code={number}",
    }
    return as_json(status, body)


def authorize(
    state: Defender, call: Call, *permissions: str, audience: str = DEFENDER
) -> ApiClient:
    """Return the client that sent the request.

    Raises:
        RefusedError: 401 if the token is not valid or is for the other audience, 403 if the client
            has none of `permissions`.
    """
    token = state.tokens.get(bearer(call.header("authorization")) or "")
    if (
        token is None
        or call.now >= token.expires_at
        or token.audience != audience
        or token.client_id not in state.clients
    ):
        raise RefusedError(refuse(state, call, 401))
    client = state.clients[token.client_id]
    if client.scopes.isdisjoint(permissions):
        text = "The application does not have any of the required application permissions"
        raise RefusedError(failed(call, 403, "Forbidden", f"{text} ({', '.join(permissions)})"))
    return client


_CODES: Final = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    429: "TooManyRequests",
    500: "InternalServerError",
}


def refuse(_state: Defender, call: Call, status: int) -> Answer:
    """Return the gateway's response for `status`."""
    code = _CODES.get(status, "InternalServerError")
    return failed(call, status, code, re.sub(r"(?<=[a-z])(?=[A-Z])", " ", code))


def failed(call: Call, status: int, code: str, message: str) -> Answer:
    """Return a response with one error."""
    error = {"code": code, "message": message, "target": call.new_id("correlation")}
    return as_json(status, {"error": error})
