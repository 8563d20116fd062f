"""A proposal's page: what is to be decided, what is known, and the decision (contract 66, A38)."""

from collections.abc import Sequence
from typing import Annotated, Final, NamedTuple

import msgspec
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from vyrox.approvals import statements
from vyrox.approvals.asking import who_may_decide
from vyrox.approvals.deciding import is_requester
from vyrox.approvals.lease_rows import Lease
from vyrox.approvals.lease_rows import find as find_lease
from vyrox.approvals.of_incident import wanted_of
from vyrox.approvals.proofs import SignedByPasskey
from vyrox.approvals.proposal import Proposal, parse
from vyrox.approvals.proposing import preview
from vyrox.approvals.rows import Decision
from vyrox.approvals.shown import ShownProposal, show
from vyrox.console.evidence import Evidence, evidence_of, incident_evidence
from vyrox.console.pages import is_current, not_modified, page, version_of
from vyrox.console.parts import (
    Owned,
    Signed,
    acting,
    console_of,
    owner_of,
    read_json,
    sees,
    signed_in,
)
from vyrox.console.sessions import Person
from vyrox.errors import ActionNotSupportedError, InvalidRequestError, NotPossibleError
from vyrox.http.responses import JsonResponse
from vyrox.store.tables import proposals
from vyrox.tenants.freezes import frozen_since
from vyrox.triage.incident_ids import IncidentKey, parse_id

_PROPOSAL: Final = Owned(proposals, "proposal_id")
_DECISIONS: Final[tuple[Decision, ...]] = ("approve", "reject")


class _Comment(msgspec.Struct, frozen=True):
    comment: Annotated[str, msgspec.Meta(max_length=statements.MAX_COMMENT)]


class _Read(NamedTuple):
    """What is stored of a proposal, as of one moment."""

    shown: ShownProposal
    proposal: Proposal
    frozen_since: float | None
    able: Sequence[str]
    evidence: Evidence
    lease: Lease | None


async def proposal_page(request: Request) -> Response:
    """Show a proposal. Nothing is decided by that (A15).

    Raises:
        UnauthorizedError: No person has signed in.
        NotFoundError: The tenant of the person has no such proposal.
    """
    person = await signed_in(request)
    console = console_of(request)
    proposal_id = request.path_params["proposal_id"]
    now = console.now()
    tenant_id = await owner_of(request, person, _PROPOSAL)
    read = await console.database.read(_read_all, tenant_id, proposal_id, now)
    shown, proposal, frozen, able, evidence, lease = read
    version = version_of(person, (shown, frozen, able, evidence))
    if is_current(request, version):
        return not_modified()
    decided = {each.approver for each in shown.decisions}
    is_asked = (
        shown.state == "pending" and person.approver not in decided and tenant_id in person.acts_for
    )
    return page(
        "proposal",
        person,
        now,
        version,
        shown=shown,
        proposal=proposal,
        evidence=evidence,
        lease=lease,
        frozen_since=frozen,
        max_comment=statements.MAX_COMMENT,
        can_decide=is_asked and person.approver in able,
        cannot=is_asked and person.approver not in able,
        has_asked=is_requester(proposal, person.approver),
        able=able,
        can_be_approved=len(decided.union(able)) >= shown.required,
        tenant_id=tenant_id,
    )


async def statements_to_sign(request: Request) -> Response:
    """Return a statement for each decision, with the comment, and what signs it.

    The script asks for them before the click: a browser may refuse a passkey that is not asked for
    at once (A27).
    """
    person, tenant_id = await acting(request, _PROPOSAL)
    console = console_of(request)
    comment = (await read_json(request, _Comment)).comment
    issued = await console.database.write(
        _issue,
        tenant_id,
        person.approver,
        request.path_params["proposal_id"],
        comment,
        console.now(),
    )
    return JsonResponse(issued)


async def decide(request: Request) -> Response:
    """Record a decision that was signed by a passkey.

    Raises:
        UnauthorizedError: The signature is not valid, or the person may not decide on this.
        NotPossibleError: It is decided already.
    """
    _, tenant_id = await acting(request, _PROPOSAL)
    console = console_of(request)
    signed = await read_json(request, Signed)
    proof = SignedByPasskey(signed.statement, signed.answer, console.relying_party)
    stored = await console.decisions.decide(tenant_id, request.path_params["proposal_id"], proof)
    return JsonResponse(
        {"state": stored.state_at(console.now()), "is_drill": stored.proposal.is_drill}
    )


async def suggested_page(request: Request) -> Response:
    """Show what an incident suggests. Its form proposes that on the incident's page."""
    person = await signed_in(request)
    console = console_of(request)
    key = _own_incident(request, person)
    evidence, wanted, able, reason = await console.database.read(
        _suggested, person, key, console.now(), console.approval_ttl_s
    )
    story = evidence.story
    if story is not None and story.shown.redirected_from is not None:
        return RedirectResponse(f"/propose/{story.shown.id}", 303)
    return page(
        "suggested",
        person,
        console.now(),
        evidence=evidence,
        wanted=wanted,
        able=able,
        reason=reason,
        key=key.id,
        can_propose=key.tenant_id in person.acts_for,
    )


def _read_all(connection: Connection, tenant_id: str, proposal_id: str, now: float) -> _Read:
    """Return all that the page shows, as of one moment."""
    shown = _read(connection, tenant_id, proposal_id, now)
    proposal = parse(shown.proposal.encode())
    return _Read(
        shown,
        proposal,
        frozen_since(connection, tenant_id),
        who_may_decide(connection, proposal),
        evidence_of(connection, tenant_id, proposal.alert_id, now),
        find_lease(connection, proposal.id),
    )


def _read(connection: Connection, tenant_id: str, proposal_id: str, now: float) -> ShownProposal:
    try:
        return show(connection, tenant_id, proposal_id, now)
    except ValueError as exc:
        raise NotPossibleError(f"the proposal was changed in the database: {exc}") from exc


def _issue(
    connection: Connection,
    tenant_id: str,
    approver: str,
    proposal_id: str,
    comment: str,
    now: float,
) -> dict[str, object]:
    issued: dict[str, object] = {}
    for decision in _DECISIONS:
        text, options = statements.issue(
            connection, tenant_id, proposal_id, approver, decision, comment, now
        )
        issued[decision] = {"statement": text, "options": options}
    return issued


def _own_incident(request: Request, person: Person) -> IncidentKey:
    key = parse_id(request.path_params["incident_id"])
    sees(person, key.tenant_id)
    return key


def _suggested(
    connection: Connection, person: Person, key: IncidentKey, now: float, ttl_s: int
) -> tuple[Evidence, Proposal | None, Sequence[str], str]:
    """Return what is known, what the person would propose, who could decide, and why."""
    evidence = incident_evidence(connection, key, now)
    try:
        wanted = wanted_of(connection, key, person.approver)
        proposal = preview(connection, wanted, now, ttl_s)
    except (NotPossibleError, InvalidRequestError, ActionNotSupportedError) as exc:
        return evidence, None, (), str(exc)
    return evidence, proposal, who_may_decide(connection, proposal), wanted.reason
