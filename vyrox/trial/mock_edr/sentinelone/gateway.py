"""What all of SentinelOne's endpoints have in common: token, filters, pages, errors.

Source: the management SDK 6.0.78 and the integrations of Splunk, Sekoia and Elastic.
docs/mock-edr.md lists what they leave open, and what this mock does.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec

from vyrox.trial.mock_edr.exchange import Answer, BadBodyError, Call, Change, RefusedError, as_json
from vyrox.trial.mock_edr.state import SentinelOne

MAX_LIMIT: Final = 1000
"""Items of one page."""

T = TypeVar("T")


_ID: Final = re.compile(r"[0-9]{1,20}")
_TITLES: Final = {
    400: (4000010, "Validation Error"),
    401: (4010010, "Authentication Failed"),
    403: (4030010, "Insufficient permissions"),
    404: (4040010, "Resource not found"),
    405: (4050010, "Method Not Allowed"),
    409: (4090010, "Conflict"),
    429: (4290010, "Too Many Requests"),
    500: (5000010, "Internal Server Error"),
}


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    filter: dict[str, object] | None = None
    data: dict[str, object] = msgspec.field(default_factory=dict)


def refuse(_state: SentinelOne, _call: Call, status: int) -> Answer:
    """Return the response for `status`."""
    return failed(status)


def failed(status: int, detail: str | None = None) -> Answer:
    """Return a response with one error."""
    code, title = _TITLES.get(status, (status * 10_000 + 10, "Error"))
    return as_json(status, {"errors": [{"code": code, "detail": detail, "title": title}]})


def authorize(state: SentinelOne, call: Call, scope: str) -> None:
    """Return if the API token is valid. The scheme is ApiToken, not Bearer.

    Raises:
        RefusedError: 401, or 403 if the token lacks `scope`.
    """
    scheme, _, token = (call.header("authorization") or "").partition(" ")
    client = next((each for each in state.clients.values() if each.has_secret(token)), None)
    if scheme.lower() != "apitoken" or client is None:
        raise RefusedError(failed(401))
    if client.secret_expires_at is not None and call.now >= client.secret_expires_at:
        raise RefusedError(failed(401))
    if scope not in client.scopes:
        raise RefusedError(failed(403))


def refuse_unwanted(path: str) -> Answer:
    """Refuse an action that Vyrox must never request."""
    answer = failed(400, f"{path} is not mocked")
    return Answer(answer.status, answer.body, answer.headers, violation=path)


def affected(state: SentinelOne, found: Sequence[object], changes: Sequence[Change]) -> Answer:
    """Return the response to an action, with the number of affected items."""
    affected = len(found) if state.affected is None else state.affected
    return as_json(200, {"data": {"affected": affected}}, *changes)


def filtered_ids(call: Call) -> list[str]:
    """Return the ids in the filter of the body. Other keys are not allowed.

    The real filter selects agents by anything, and an empty one selects all of them.

    Raises:
        RefusedError: 400 for an invalid body; 500, and a violation, for a wider filter.
    """
    if call.query:
        raise RefusedError(failed(400, "an action takes no query"))
    try:
        wanted = call.json(_Body).filter
    except BadBodyError as exc:
        raise RefusedError(failed(400, str(exc))) from exc
    if wanted is None:
        raise RefusedError(failed(400, "filter: Missing data for required field."))
    ids = wanted.get("ids")
    if wanted.keys() != {"ids"} or not ids:
        answer = failed(500, "a filter that is not one of ids alone")
        violation = f"{call.path} with the filter {msgspec.json.encode(wanted).decode()}"
        raise RefusedError(Answer(answer.status, answer.body, answer.headers, violation=violation))
    if not isinstance(ids, list) or not all(
        isinstance(each, str) and _ID.fullmatch(each) for each in ids
    ):
        raise RefusedError(failed(400, "filter.ids: Not a list of ids."))
    return list(dict.fromkeys(ids))


def check_query(call: Call, *known: str) -> None:
    """Return if the endpoint knows all parameters of the query.

    Raises:
        RefusedError: 400.
    """
    if unknown := call.unknown_query(*known):
        raise RefusedError(failed(400, f"{unknown[0]}: Unknown field."))


def asked_ids(call: Call) -> set[str]:
    """Return the ids in the query of a list.

    Raises:
        RefusedError: 400 for an invalid id.
    """
    ids = {each for value in call.all_of("ids") for each in value.split(",")}
    if not all(_ID.fullmatch(each) for each in ids):
        raise RefusedError(failed(400, "ids: Not a list of ids."))
    return ids


def page_of(call: Call, found: list[T]) -> tuple[list[T], dict[str, object]]:
    """Return the requested page, and its `pagination`.

    Raises:
        RefusedError: 400 for an invalid limit or cursor.
    """
    limit = call.one_of("limit") or "10"
    if not (limit.isdecimal() and 1 <= int(limit) <= MAX_LIMIT):
        raise RefusedError(failed(400, f"limit: Must be between 1 and {MAX_LIMIT}."))
    try:
        start = int(urlsafe_b64decode(call.one_of("cursor") or "MA=="))
    except ValueError as exc:
        raise RefusedError(failed(400, "cursor: Invalid cursor.")) from exc
    skip = call.one_of("skip") or "0"
    if not (skip.isdecimal() and int(skip) <= MAX_LIMIT):
        raise RefusedError(failed(400, f"skip: Must be at most {MAX_LIMIT}."))
    start += int(skip)
    end = start + int(limit)
    cursor = urlsafe_b64encode(str(end).encode()).decode() if end < len(found) else None
    return found[start:end], {"nextCursor": cursor, "totalItems": len(found)}


def is_due(state: SentinelOne, reads: int) -> bool:
    """Return whether a pending change has been read often enough to complete."""
    return state.reads_until_done is not None and reads >= state.reads_until_done


def with_errors(answer: Answer) -> Answer:
    """Return a 2xx with errors in its body."""
    body = msgspec.json.decode(answer.body or b"{}", type=dict[str, object])
    errors = [{"code": 5000010, "detail": None, "title": "Internal Server Error"}]
    return as_json(answer.status, {**body, "errors": errors})
