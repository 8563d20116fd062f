"""The tenants: what is set up, and freezing (contract 77). All else changes on the command line."""

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from vyrox.approvals.discord.configured import Channel, channel_of
from vyrox.approvals.freezing import set_frozen
from vyrox.approvals.listed import ListedApprover, list_all
from vyrox.approvals.rules import list_rules
from vyrox.console import sources
from vyrox.console.own_keys import Agreed, ceremony_of
from vyrox.console.pages import page
from vyrox.console.paging import PAGE_ROWS, cursor, here_with, parse_cursor
from vyrox.console.parts import Console, acts, console_of, done, read_json, sees, signed_in
from vyrox.console.sessions import Person
from vyrox.console.sign_in import used_by
from vyrox.console.sources import TITLES, Secrets, Source, Trouble
from vyrox.console.viewers import Viewer, list_viewers
from vyrox.errors import NotPossibleError, OperatorError, UnauthorizedError
from vyrox.http.responses import JsonResponse
from vyrox.notify.targets import FailingTarget, Target, own_targets
from vyrox.tenants import guard_rails
from vyrox.tenants.containers import until_read
from vyrox.tenants.edr_credentials import list_credentials
from vyrox.tenants.guard_rails import Frozen, Rails

MAX_RULES: Final = 50
"""Device rules that a page shows."""


class ShownCredentials(msgspec.Struct, frozen=True):
    """Credentials at a vendor's API, without the secret."""

    vendor: str
    base_url: str
    client_id: str | None
    azure_tenant: str | None
    member_cid: str | None


class ShownTenant(msgspec.Struct, frozen=True, kw_only=True):
    """What is set up for one tenant.

    Attributes:
        rules: For which two persons are needed.
        channel: At Discord, or None.
    """

    tenant_id: str
    rails: Rails
    begun: int
    sources: Sequence[Source]
    secrets: Sequence[Secrets]
    troubles: Sequence[Trouble]
    rules: Sequence[str]
    approvers: Sequence[ListedApprover]
    viewers: Sequence[Viewer]
    credentials: Sequence[ShownCredentials]
    targets: Sequence[Target]
    failing: dict[str, FailingTarget]
    channel: Channel | None


class ListedTenant(msgspec.Struct, frozen=True):
    """A tenant in the list."""

    tenant_id: str
    rails: Rails
    sources: Sequence[Source]

    @property
    def wrong(self) -> int:
        """How many sources have something wrong."""
        return sum(bool(each.wrong) for each in self.sources)


async def tenants_page(request: Request) -> Response:
    """List the tenants of the person, in order of name."""
    person = await signed_in(request)
    console = console_of(request)
    now = console.now()
    place = parse_cursor(request.query_params.get("after"))
    rest = [each for each in sorted(person.tenants) if place is None or each > place[1]]
    found = await console.database.read(_list, console, rest[:PAGE_ROWS], now)
    more = len(rest) > PAGE_ROWS
    older = here_with(request, after=cursor(0.0, rest[PAGE_ROWS - 1])) if more else None
    return page("tenants", person, now, tenants=found, older=older)


async def tenant_page(request: Request) -> Response:
    """Show what is set up for a tenant. Raises NotFoundError if the person may not see it."""
    person, tenant_id = await _visible(request)
    console = console_of(request)
    now = console.now()
    shown = await console.database.read(_show, console, tenant_id, now)
    can_act = tenant_id in person.acts_for
    return page("tenant", person, now, shown=shown, can_act=can_act, titles=TITLES)


async def freeze_page(request: Request) -> Response:
    """Say what freezing or unfreezing a tenant does, and ask. Raises as `freeze`."""
    person, tenant_id = await _visible(request)
    acts(person, tenant_id)
    console = console_of(request)
    now = console.now()
    found = await console.database.read(guard_rails.find, [tenant_id])
    rails = found[tenant_id]
    ceremony = None
    if rails.frozen_at is not None:
        ceremony = await ceremony_of(console, person, _unfreezing(person, tenant_id), now)
    return page("freeze", person, now, tenant_id=tenant_id, rails=rails, ceremony=ceremony)


async def freeze(request: Request) -> Response:
    """Freeze a tenant, and wait until every container has read that.

    Raises:
        NotFoundError: The person may not see the tenant.
        NotPossibleError: The person may not act for it, or it is not known.
    """
    person, tenant_id = await _visible(request)
    acts(person, tenant_id)
    console = console_of(request)
    frozen = await console.database.write(
        _set_frozen, tenant_id, console.now(), True, person.approver
    )
    # Also with clocks that cannot be trusted: it only stops what would be done.
    containers = await until_read(console.database, frozen.version, console.now)
    is_late = any(each.version < frozen.version for each in containers)
    return done(_path(request), "frozen_late" if is_late else "frozen")


async def unfreeze(request: Request) -> Response:
    """Allow approved actions again, because a passkey of the person has agreed just now.

    Raises:
        InvalidRequestError: The body is not the answer of a passkey.
        UnauthorizedError: No passkey of the person has agreed.
        UnavailableError: The clocks cannot be trusted.
        VyroxError: As `freeze`.
    """
    person, tenant_id = await _visible(request)
    acts(person, tenant_id)
    console = console_of(request)
    agreed = await read_json(request, Agreed)
    console.check_clocks()
    now = console.now()
    challenge = console.challenges.open(_unfreezing(person, tenant_id), agreed.challenge, now)
    unfrozen = await console.database.write(
        _unfreeze, console, person, tenant_id, challenge, agreed.answer, now
    )
    return JsonResponse({"done": "still_frozen" if unfrozen.rails.is_frozen else "unfrozen"})


def _unfreezing(person: Person, tenant_id: str) -> str:
    return f"unfreeze\n{tenant_id}\n{person.tenant_id}\n{person.approver}"


def _unfreeze(
    connection: Connection,
    console: Console,
    person: Person,
    tenant_id: str,
    challenge: bytes,
    answer: str,
    now: float,
) -> Frozen:
    key = used_by(connection, console.relying_party, challenge, answer, now)
    if (key.tenant_id, key.approver) != (person.tenant_id, person.approver):
        raise UnauthorizedError("key_of_another_person", person.tenant_id)
    return _set_frozen(connection, tenant_id, now, False, person.approver)


async def _visible(request: Request) -> tuple[Person, str]:
    person = await signed_in(request)
    tenant_id = request.path_params["tenant_id"]
    sees(person, tenant_id)
    return person, tenant_id


def _set_frozen(
    connection: Connection, tenant_id: str, now: float, frozen: bool, by: str
) -> Frozen:
    try:
        return set_frozen(connection, tenant_id, now, frozen=frozen, by=by)
    except OperatorError as exc:
        raise NotPossibleError(str(exc)) from exc


def _path(request: Request) -> str:
    return f"/tenants/{request.path_params['tenant_id']}"


def _list(
    connection: Connection, console: Console, tenant_ids: Sequence[str], now: float
) -> list[ListedTenant]:
    rails = guard_rails.find(connection, tenant_ids)
    by_tenant: dict[str, list[Source]] = {each: [] for each in tenant_ids}
    for source in sources.read_sources(connection, console, tenant_ids, now):
        by_tenant[source.tenant_id].append(source)
    return [ListedTenant(name, rails[name], found) for name, found in by_tenant.items()]


def _show(connection: Connection, console: Console, tenant_id: str, now: float) -> ShownTenant:
    own = [tenant_id]
    found = sources.read_sources(connection, console, own, now)
    ways = sources.read_ways(connection, own, now)
    people = list_all(connection, tenant_id, now).approvers
    return ShownTenant(
        tenant_id=tenant_id,
        rails=guard_rails.find(connection, own)[tenant_id],
        begun=guard_rails.count_begun(connection, tenant_id, now),
        sources=found,
        secrets=[each.secrets for each in found if each.secrets is not None],
        troubles=[each for each in sources.troubles(console, (), ways) if each.tenant_id],
        rules=list_rules(connection, tenant_id),
        approvers=[each for each in people if each.removed_at is None],
        viewers=[each for each in list_viewers(connection, tenant_id) if each.removed_at is None],
        credentials=[
            ShownCredentials(
                each.vendor, each.base_url, each.client_id, each.azure_tenant, each.member_cid
            )
            for each in list_credentials(connection, tenant_id)
        ],
        targets=own_targets(connection, tenant_id),
        failing={each.target_id: each for each in ways.targets},
        channel=channel_of(connection, tenant_id),
    )
