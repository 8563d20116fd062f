"""What each route takes and returns, for the API documents (contract 100).

The bodies and queries are the Structs that the routes decode with; the errors are classes of
`vyrox.errors`. Where a route has no Struct, `shapes` has one with the same fields.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

import msgspec

from vyrox.alerts.listing import AlertPage, ShownAlert
from vyrox.alerts.verdict import FinishedAlert
from vyrox.approvals.discord.interaction import Interaction
from vyrox.approvals.proposing import Proposed
from vyrox.approvals.shown import ShownProposal
from vyrox.chain.checkpoints import Consistency, Inclusion
from vyrox.containment.execution import Executed
from vyrox.errors import (
    ActionNotSupportedError,
    AuditWriteError,
    BodyTooLargeError,
    HeadersTooLargeError,
    InFlightError,
    InvalidRequestError,
    MalformedRequestError,
    MissingTenantError,
    NormalizationError,
    NotFoundError,
    NotPossibleError,
    RateLimitedError,
    RefusedByPolicyError,
    RequestReusedError,
    RequestTimeoutError,
    StaleRequestError,
    UnauthorizedError,
    UnavailableError,
    UnsupportedEncodingError,
    VendorError,
    VyroxError,
)
from vyrox.models import BreakGlass
from vyrox.routes.alerts import AlertsQuery, FinishBody
from vyrox.routes.approvals import ProposalBody
from vyrox.routes.documents.shapes import (
    AlertQuery,
    AllQueued,
    CheckpointQuery,
    CrowdStrikeDelivery,
    DefenderDelivery,
    Entries,
    ExportQuery,
    HandshakeQuery,
    Healthy,
    Ignored,
    PreviewedScope,
    ProofQuery,
    Queued,
    SentinelOneDelivery,
    ShownSuppression,
    Suppressions,
    TenantQuery,
)
from vyrox.routes.execute import ExecuteBody, LiftBody
from vyrox.routes.incidents import (
    CloseBody,
    CommentBody,
    IncidentBody,
    IncidentsQuery,
    MergeBody,
    MoveBody,
)
from vyrox.routes.suppressions import (
    ConfirmBody,
    EndBody,
    ScopeQuery,
    SuppressionBody,
    SuppressionsQuery,
)
from vyrox.triage.incident_list import IncidentPage, ListedIncident
from vyrox.triage.shown_incident import ShownIncident

Errors = tuple[type[VyroxError], ...]
Credential = Literal["none", "body", "read", "bearer", "tenant", "discord"]

JSON: Final = "application/json"
TEXT: Final = "text/plain"
LINES: Final = "application/x-ndjson"
HTML: Final = "text/html"

EVERY: Final[Errors] = (
    MalformedRequestError,
    RequestTimeoutError,
    HeadersTooLargeError,
    VyroxError,
    UnavailableError,
)
"""What any request may get: from the HTTP protocol, or if Vyrox fails, stops or has no room."""

BODY: Final[Errors] = (BodyTooLargeError, UnsupportedEncodingError)
READ: Final[Errors] = (
    InvalidRequestError,
    UnauthorizedError,
    StaleRequestError,
    AuditWriteError,
)
FOUND: Final[Errors] = (*READ, NotFoundError)
CHANGE: Final[Errors] = (*FOUND, *BODY, NotPossibleError, RequestReusedError)
ACTION: Final[Errors] = (
    *READ,
    *BODY,
    RefusedByPolicyError,
    InFlightError,
    RequestReusedError,
    RateLimitedError,
    ActionNotSupportedError,
    VendorError,
)
PROPOSAL: Final[Errors] = (
    *BODY,
    InvalidRequestError,
    UnauthorizedError,
    NotFoundError,
    NotPossibleError,
    RequestReusedError,
    AuditWriteError,
    ActionNotSupportedError,
)
DELIVERY: Final[Errors] = (*BODY, UnauthorizedError, NormalizationError)


@dataclass(frozen=True)
class Described:
    """One operation.

    Attributes:
        contract: The numbers of the contract that describe it.
        returns: The types of a successful response, by media type; none: no JSON.
        body: What it decodes; None: no body. `object`: any JSON of the vendor or of Discord.
    """

    summary: str
    contract: tuple[int, ...]
    credential: Credential = "none"
    errors: Errors = ()
    returns: Mapping[str, tuple[object, ...]] = field(
        default_factory=lambda: MappingProxyType({JSON: (Healthy,)})
    )
    body: object | None = None
    query: type[msgspec.Struct] | None = None
    status: int = 200


def _json(*types: object) -> Mapping[str, tuple[object, ...]]:
    return {JSON: types}


def _webhook(
    vendor: str, contract: int, credential: Credential, body: object | None = None
) -> Described:
    errors = DELIVERY if body is None else (*DELIVERY, MissingTenantError)
    returns = _json(Queued) if body is not None else _json(Queued, AllQueued, Ignored)
    summary = f"Take alerts of {vendor}"
    query = HandshakeQuery if body is None and vendor == "Microsoft Defender" else None
    if body is None:
        summary, body = f"{summary}, with the tenant in the path", object
    return Described(summary, (contract,), credential, errors, returns, body, query, 202)


def _change(summary: str, contract: int, body: object, result: object) -> Described:
    return Described(summary, (51, contract), "body", CHANGE, _json(result), body)


def _read(
    summary: str,
    contract: tuple[int, ...],
    query: type[msgspec.Struct],
    *types: object,
    errors: Errors = FOUND,
) -> Described:
    return Described(summary, contract, "read", errors, _json(*types), None, query)


_INCIDENT_CHANGES: Final = {
    "ack": ("Acknowledge an incident", IncidentBody),
    "close": ("Close an incident", CloseBody),
    "reopen": ("Open a closed incident again", IncidentBody),
    "comment": ("Comment on an incident", CommentBody),
    "merge": ("Merge two incidents", MergeBody),
    "move": ("Move alerts to another incident", MoveBody),
}

PUBLIC: Final[Mapping[str, Described]] = {
    "POST /webhook/crowdstrike": _webhook("CrowdStrike", 6, "body", CrowdStrikeDelivery),
    "POST /webhook/sentinelone": _webhook("SentinelOne", 6, "bearer", SentinelOneDelivery),
    "POST /webhook/defender": _webhook("Microsoft Defender", 6, "bearer", DefenderDelivery),
    "POST /webhook/crowdstrike/{tenant_id}": _webhook("CrowdStrike", 71, "tenant"),
    "POST /webhook/sentinelone/{tenant_id}": _webhook("SentinelOne", 71, "tenant"),
    "POST /webhook/defender/{tenant_id}": _webhook("Microsoft Defender", 71, "tenant"),
    "POST /webhook/generic/{tenant_id}": _webhook("any other source", 9, "tenant"),
    "POST /interactions": Described(
        "Answer Discord",
        (67,),
        "discord",
        (*BODY, NotFoundError, UnauthorizedError, InvalidRequestError),
        _json(dict[str, Any]),
        Interaction,
    ),
    "GET /health": Described("Whether an alert would be accepted now", (28, 29)),
}
"""The public listener. Each also has the errors of EVERY."""

PRIVATE: Final[Mapping[str, Described]] = {
    "POST /execute": Described(
        "Contain a device", (19, 20), "body", ACTION, _json(Executed), ExecuteBody
    ),
    "POST /lift": Described("End a containment", (34,), "body", ACTION, _json(Executed), LiftBody),
    "POST /break-glass": Described(
        "Carry out one action without an approval",
        (69,),
        "body",
        ACTION,
        _json(Executed),
        BreakGlass,
    ),
    "POST /webhook": Described(
        "Propose an action",
        (62, 63),
        "body",
        PROPOSAL,
        _json(Proposed),
        ProposalBody,
        status=202,
    ),
    "GET /approvals/{proposal_id}": _read(
        "Show a proposal, and who decided", (63,), TenantQuery, ShownProposal
    ),
    "GET /alerts": _read("List alerts, newest first", (50,), AlertsQuery, AlertPage, errors=READ),
    "GET /alerts/{alert_id}": _read("Show one alert", (50,), AlertQuery, ShownAlert),
    "POST /alerts/{alert_id}/finish": _change(
        "Give an alert a person's verdict", 51, FinishBody, FinishedAlert
    ),
    "GET /incidents": _read("List incidents", (54,), IncidentsQuery, IncidentPage, errors=READ),
    "GET /incidents/{incident_id}": _read("Show one incident", (54,), TenantQuery, ShownIncident),
    **{
        f"POST /incidents/{{incident_id}}/{name}": _change(summary, 54, body, ListedIncident)
        for name, (summary, body) in _INCIDENT_CHANGES.items()
    },
    "GET /suppressions": _read(
        "List suppressions", (56,), SuppressionsQuery, Suppressions, errors=READ
    ),
    "GET /suppressions/preview": _read(
        "What a suppression would have hidden", (56,), ScopeQuery, PreviewedScope
    ),
    "POST /suppressions": _change("Suppress alerts", 56, SuppressionBody, ShownSuppression),
    "POST /suppressions/{suppression_id}/confirm": _change(
        "Confirm a suppression as the second person", 56, ConfirmBody, ShownSuppression
    ),
    "POST /suppressions/{suppression_id}/end": _change(
        "End a suppression", 56, EndBody, ShownSuppression
    ),
    "GET /audit/checkpoint": Described(
        "A signed checkpoint of the audit log",
        (93,),
        "read",
        FOUND,
        {TEXT: ()},
        query=CheckpointQuery,
    ),
    "GET /audit/export": Described(
        "Every entry of the audit log, oldest first",
        (26,),
        "read",
        READ,
        {JSON: (Entries,), LINES: (), TEXT: ()},
        query=ExportQuery,
    ),
    "GET /audit/proof": _read(
        "That an entry is in the audit log, or that the log only grew",
        (94,),
        ProofQuery,
        Inclusion,
        Consistency,
    ),
    "GET /health": Described("Whether the process serves", (28,)),
    "GET /metrics": Described("What is measured, for Prometheus", (98,), returns={TEXT: ()}),
    "GET /openapi.json": Described("This document", (100,), returns=_json(dict[str, Any])),
    "GET /docs": Described("This document, as a page", (100,), returns={HTML: ()}),
}
"""The private listener. It has no 503 from Vyrox (contract 19), except for a connection on which
too many requests wait."""
