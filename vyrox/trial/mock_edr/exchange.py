"""One request to a mocked vendor and its response, and the description of a vendor's API."""

import hashlib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, Generic, Literal, TypeVar
from urllib.parse import parse_qsl

import msgspec

VendorName = Literal["crowdstrike", "sentinelone", "defender"]

S = TypeVar("S", bound=msgspec.Struct)
T = TypeVar("T")

_IDS: Final = uuid.UUID("6d6f636b-2d65-4472-8000-000000000000")

JSON: Final[Mapping[str, str]] = MappingProxyType({"content-type": "application/json"})


class Change(msgspec.Struct, frozen=True):
    """One change of a device.

    Attributes:
        what: The vendor's word for it: `contain`, `kill`, `disconnect`, `isolate`, ...
        detail: Distinguishes changes of the same kind, such as the PID.
    """

    device_id: str
    what: str
    detail: str = ""


@dataclass(frozen=True)
class Answer:
    """A vendor's response, and the changes that came with it.

    Attributes:
        violation: Why Vyrox must never send such a request. Tests assert that no request has one.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=lambda: JSON)
    changes: tuple[Change, ...] = ()
    violation: str | None = None


class RefusedError(Exception):
    """The vendor refuses the request with `answer`. Its state has not changed."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class BadBodyError(Exception):
    """The endpoint does not accept the body. The text contains the reason."""


@dataclass(frozen=True)
class Call:
    """A received request.

    Attributes:
        path: Below the vendor's base URL, decoded.
        params: The variable parts of the endpoint's path.
        query: In the order sent, repeated names included.
        headers: Names in lower case, in the order sent.
        number: Counts all requests to the mock. Ids depend on it, so that a run is repeatable.
        now: The mock's time.
    """

    method: str
    path: str
    params: dict[str, str]
    query: tuple[tuple[str, str], ...]
    headers: tuple[tuple[str, str], ...]
    body: bytes
    number: int
    now: float

    def header(self, name: str) -> str | None:
        """Return the header `name`, or None if it is missing or repeated."""
        values = [value for header, value in self.headers if header == name]
        return values[0] if len(values) == 1 else None

    @property
    def media_type(self) -> str:
        """Return the content type, without its parameters."""
        return (self.header("content-type") or "").partition(";")[0].strip().lower()

    def all_of(self, name: str) -> list[str]:
        """Return every value of a query parameter."""
        return [value for key, value in self.query if key == name]

    def one_of(self, name: str) -> str | None:
        """Return the value of a query parameter, or None if it is missing or repeated."""
        values = self.all_of(name)
        return values[0] if len(values) == 1 else None

    def unknown_query(self, *known: str) -> list[str]:
        """Return the names of the parameters that are not in `known`."""
        return [key for key, _ in self.query if key not in known]

    def json(self, kind: type[T]) -> T:
        """Return the body as `kind`. Other members are not allowed.

        Raises:
            BadBodyError: It is not valid JSON, has another content type, or has other members.
        """
        if self.media_type != "application/json":
            raise BadBodyError(f"content type {self.media_type!r} is not application/json")
        try:
            return msgspec.json.decode(self.body, type=kind)
        except (ValueError, RecursionError) as exc:
            raise BadBodyError(str(exc)) from exc

    def form(self) -> dict[str, str]:
        """Return the members of a form.

        Raises:
            BadBodyError: It is not a valid form, has another content type, or repeats a member.
        """
        if self.media_type != "application/x-www-form-urlencoded":
            raise BadBodyError(f"content type {self.media_type!r} is not a form's")
        try:
            pairs = parse_qsl(
                self.body.decode("ascii"), keep_blank_values=True, strict_parsing=True
            )
        except ValueError as exc:
            raise BadBodyError(str(exc)) from exc
        if len(dict(pairs)) != len(pairs):
            raise BadBodyError("a member is repeated")
        return dict(pairs)

    def new_id(self, purpose: str) -> str:
        """Return a UUID that only this request makes for `purpose`."""
        return str(uuid.uuid5(_IDS, f"{self.number} {purpose}"))

    def new_secret(self, purpose: str) -> str:
        """Return 64 hexadecimal digits that only this request makes for `purpose`."""
        return hashlib.sha256(f"mock {self.number} {purpose}".encode()).hexdigest()


@dataclass(frozen=True)
class Endpoint(Generic[S]):
    """One endpoint of a vendor's API.

    Attributes:
        name: Its name in faults and in the recorded requests.
        path: Below the vendor's base URL, with `{name}` for a variable part.
    """

    name: str
    method: str
    path: str
    answer: Callable[[S, Call], Answer]


@dataclass(frozen=True)
class Api(Generic[S]):
    """One vendor: its endpoints, and what their responses have in common.

    Attributes:
        refuse: Returns the gateway's response for a status.
        with_errors: Adds errors to the body of a successful response.
        complete: Adds the headers of every response.
        limit: Adds the pause to a 429. Arguments: response, now, seconds to wait, and the unit of
            the header.
        settle: Completes what is pending at the vendor.
    """

    vendor: VendorName
    endpoints: tuple[Endpoint[S], ...]
    refuse: Callable[[S, Call, int], Answer]
    with_errors: Callable[[Answer], Answer]
    complete: Callable[[S, Call, Answer], Answer]
    limit: Callable[[Answer, float, float, Literal["s", "ms"]], Answer]
    settle: Callable[[S, float], tuple[Change, ...]]


def as_json(status: int, body: object, *changes: Change) -> Answer:
    """Return a response with a JSON body."""
    return Answer(status, msgspec.json.encode(body), changes=changes)


def as_ticks(seconds: float) -> str:
    """Return Unix seconds in Microsoft's form, with seven fractional digits."""
    at = datetime.fromtimestamp(seconds, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S.%f}0Z"


def from_iso(text: str) -> float | None:
    """Return a time in UTC as Unix seconds, or None if `text` is not one."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at.timestamp() if at.tzinfo else None


def merged(entity: dict[str, object], other: dict[str, object]) -> dict[str, object]:
    """Return `entity` with the members of `other` in place of its own; null removes a member."""
    removed = {name for name, value in other.items() if value is None}
    return {name: value for name, value in (entity | other).items() if name not in removed}


def as_iso(seconds: float) -> str:
    """Return Unix seconds as ISO 8601, in UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
