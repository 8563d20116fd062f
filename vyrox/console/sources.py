"""Whether alerts arrive, and whether the stores and the ways to people work (contract 77, 86).

What is wrong is a `Trouble`, with what to do. What is fine is a name. The console's first page and
`vyrox status` show the same.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol

import msgspec
from sqlalchemy import Connection

from vyrox.alerts.waiting_lists import MAX_COUNTED, count_dead
from vyrox.approvals.discord import posted
from vyrox.approvals.discord.configured import list_channels
from vyrox.errors import UnavailableError
from vyrox.models import Vendor
from vyrox.notify.targets import FailingTarget, find_failing, has_targets
from vyrox.polling.arrivals import Arrivals, read_all
from vyrox.polling.findings import NOTHING_YET, Finding, Fingerprints, findings
from vyrox.tenants.webhook_options import scheme_of

TITLES: Final = {
    "webhook": "No webhook is set up",
    "secret": "The secret cannot be read",
    "previous": "The sender still uses the old secret",
    "last alert": "No alert has arrived yet",
    "last 401": "Deliveries are refused",
    "last 422": "Payloads could not be read",
    "poller": "Alerts cannot be pulled",
    "announced": "Announced alerts are not fetched",
}
"""The names of findings, as a person reads them who knows no command."""

KEPT: Final = "last 422"
"""The finding about payloads that wait in quarantine."""

_REASONS: Final = {"poller": "poll error", "announced": "graph says"}
"""Findings of which a second one says why."""

VENDOR_NAMES: Final[Mapping[str, str]] = {
    "crowdstrike": "CrowdStrike",
    "sentinelone": "SentinelOne",
    "defender": "Microsoft Defender",
    "generic": "Generic webhook",
}

STORES: Final = {
    "database": (
        "The database does not work",
        "free its disk, or start it: until then no alert is accepted and nothing is recorded",
    ),
    "queue": (
        "Redis does not work",
        "start it, or look at its memory and disk: until then no alert is accepted",
    ),
}
"""What a store that does not work is called, and what to do."""


class Stores(Protocol):
    """What has probed the stores."""

    def failing(self) -> Mapping[str, str]:
        """Return why a store does not work, by `database` and `queue`."""


class Poster(Protocol):
    """What posts at Discord."""

    @property
    def is_on(self) -> bool:
        """Whether the service has a token."""

    @property
    def refused(self) -> str | None:
        """Why Discord refuses the token; None: it does not."""


class Service(Protocol):
    """The parts of the service that are asked how they are."""

    @property
    def health(self) -> Stores:
        """Of the database and of Redis."""

    @property
    def discord(self) -> Poster:
        """What posts at Discord."""

    @property
    def check_clocks(self) -> Callable[[], None]:
        """Raises UnavailableError if the clocks cannot be trusted."""

    @property
    def fingerprint(self) -> Callable[[str, str, str | None], str | None]:
        """Of a webhook's secret, by tenant, vendor and the encrypted secret."""


class Trouble(msgspec.Struct, frozen=True):
    """One thing that is wrong.

    Attributes:
        tenant_id: Whose it is; None: of the whole service.
        where: The source, the target, or another place; may be empty.
        do: What to do, a line for each way.
        link: Of a page that shows more.
    """

    tenant_id: str | None
    what: str
    where: str
    text: str
    do: tuple[str, ...] = ()
    link: str | None = None


class Secrets(msgspec.Struct, frozen=True):
    """The secrets of a webhook, as the first digits of their SHA-256. Times are Unix seconds.

    Attributes:
        set_at: When the present one was set; None: before that was noted.
        previous_until: Until when the one before it is valid; None: it is not.
    """

    vendor: Vendor
    scheme: str
    present: str | None
    set_at: float | None
    used_at: float | None
    previous: str | None
    previous_until: float | None
    previous_used_at: float | None


class Source(msgspec.Struct, frozen=True):
    """One tenant at one vendor.

    Attributes:
        secrets: Of its webhook; None: it has none.
        findings: As `vyrox tenant check` shows them.
        failed_at: When something last went wrong, as far as it has a time.
    """

    tenant_id: str
    vendor: Vendor
    alert_at: float | None
    failed_at: float | None
    secrets: Secrets | None
    findings: Sequence[Finding]

    @property
    def name(self) -> str:
        """The vendor, as people write it."""
        return VENDOR_NAMES[self.vendor]

    @property
    def wrong(self) -> list[Finding]:
        """What is wrong with it."""
        return [each for each in self.findings if each.state == "wrong"]


class Ways(msgspec.Struct, frozen=True):
    """What is known of the ways on which alerts get to people, of some tenants.

    Attributes:
        channels: The tenants that have a channel at Discord.
        unposted: By tenant why a message could not be posted there.
        targets: Notification targets that do not take what is sent.
        has_targets: Whether there are any.
        dead: How many dead letters a tenant has, if it has any.
    """

    channels: tuple[str, ...]
    unposted: dict[str, str]
    targets: Sequence[FailingTarget]
    has_targets: bool
    dead: dict[str, int]


def read_sources(
    connection: Connection, service: Service, tenant_ids: Sequence[str], now: float
) -> list[Source]:
    """Return the sources of the tenants, in order of name."""
    found = read_all(connection, tenant_ids)
    return [_source(service, each, now) for each in found if each.is_expected or each.kept]


def read_ways(connection: Connection, tenant_ids: Sequence[str], now: float) -> Ways:
    """Return what is known of the ways to the people of the tenants."""
    own = frozenset(tenant_ids)
    channels = tuple(c.tenant_id for c in list_channels(connection) if c.tenant_id in own)
    return Ways(
        channels,
        posted.find_failing(connection, channels),
        find_failing(connection, tenant_ids, now),
        has_targets(connection, tenant_ids),
        count_dead(connection, tenant_ids),
    )


def troubles(service: Service, sources: Sequence[Source], ways: Ways) -> list[Trouble]:
    """Return all that is wrong: the service first, then the sources, then the ways to people."""
    return [
        *_of_service(service),
        *_of_sources(sources),
        *_of_dead(ways),
        *_of_ways(service, ways),
    ]


def missing(tenant_ids: Sequence[str], sources: Sequence[Source]) -> list[Trouble]:
    """Return a trouble for each tenant that has no source at all: it would look quiet."""
    found = {
        each.tenant_id for each in sources if any(finding.name != KEPT for finding in each.findings)
    }
    return [
        Trouble(
            tenant_id,
            "No source is set up",
            f"tenant {tenant_id}",
            "so no alert can arrive",
            (f"vyrox tenant add {tenant_id} --vendor VENDOR",),
            f"/tenants/{tenant_id}",
        )
        for tenant_id in tenant_ids
        if tenant_id not in found
    ]


def fine(sources: Sequence[Source], ways: Ways, found: Iterable[Trouble]) -> list[str]:
    """Return the names of what works."""
    wrong = {each.what for each in found}
    well = sum(not each.wrong for each in sources)
    names = [f"{well} source{'' if well == 1 else 's'}"] if well else []
    names += [
        name
        for name, store in (("Redis", "queue"), ("the database", "database"))
        if STORES[store][0] not in wrong
    ]
    if ways.channels and not any(each.startswith("Discord") for each in wrong):
        names.append("Discord")
    if ways.has_targets and not ways.targets:
        names.append("the notifications")
    return names


def _source(service: Service, found: Arrivals, now: float) -> Source:
    present, previous = found.secrets.present, found.secrets.previous
    prints = Fingerprints(
        service.fingerprint(found.tenant_id, found.vendor, present),
        service.fingerprint(found.tenant_id, found.vendor, previous),
    )
    times = [
        None if found.refusal is None else found.refusal.at,
        None if found.kept is None else found.kept.last_at,
    ]
    return Source(
        tenant_id=found.tenant_id,
        vendor=found.vendor,
        alert_at=found.alert_at,
        failed_at=max((each for each in times if each is not None), default=None),
        secrets=_secrets(found, prints, now),
        # What waits in quarantine of a source that was removed still waits for a person.
        findings=[
            each for each in findings(found, prints, now) if found.is_expected or each.name == KEPT
        ],
    )


def _secrets(found: Arrivals, prints: Fingerprints, now: float) -> Secrets | None:
    row = found.onboarded
    if row is None or not row.enabled:
        return None
    until = row.previous_expires_at
    is_valid = until is not None and until > now
    return Secrets(
        vendor=found.vendor,
        scheme=scheme_of(found.vendor, row.webhook),
        present=prints.present,
        set_at=row.secret_at,
        used_at=row.used_at,
        previous=prints.previous if is_valid else None,
        previous_until=until if is_valid else None,
        previous_used_at=row.previous_used_at if is_valid else None,
    )


def _of_service(service: Service) -> Iterator[Trouble]:
    for store, reason in service.health.failing().items():
        what, do = STORES[store]
        yield Trouble(None, what, "", reason, (do,))
    try:
        service.check_clocks()
    except UnavailableError as exc:
        yield Trouble(
            None, "The clocks cannot be trusted", "", str(exc), ("set this host's clock",)
        )


def _of_sources(sources: Iterable[Source]) -> Iterator[Trouble]:
    for source in sources:
        own = f"/tenants/{source.tenant_id}"
        reasons = {each.name: each for each in source.wrong if each.name in _REASONS.values()}
        for found in source.wrong:
            if found.name in reasons:
                continue
            reason = reasons.get(_REASONS.get(found.name, ""))
            text = found.text if reason is None else f"{found.text}: {reason.text}"
            do = found.do if reason is None else reason.do
            what = TITLES.get(found.name, found.name)
            shown = "" if found.text == NOTHING_YET else text
            is_kept = found.name == KEPT
            if is_kept:
                do = ("open it there: try it again, or dismiss it",)
            link = f"/quarantine?tenant={source.tenant_id}" if is_kept else own
            yield Trouble(source.tenant_id, what, source.name, shown, do, link)


def _of_dead(ways: Ways) -> Iterator[Trouble]:
    for tenant_id, number in sorted(ways.dead.items()):
        more = " or more" if number == MAX_COUNTED else ""
        text = f"{number}{more} {'alert' if number == 1 else 'alerts'} without a verdict by triage"
        do = ("open them there: give a verdict, or queue them again",)
        what = "Alerts that nothing could finish"
        yield Trouble(tenant_id, what, "dead letters", text, do, f"/dead?tenant={tenant_id}")


def _of_ways(service: Service, ways: Ways) -> Iterator[Trouble]:
    if ways.channels and not service.discord.is_on:
        do = ("set DISCORD_APPLICATION_ID, DISCORD_PUBLIC_KEY and DISCORD_BOT_TOKEN",)
        text = "a channel is set up, but the service has no token"
        yield Trouble(None, "Discord is switched off", "", text, do)
    elif ways.channels and service.discord.refused is not None:
        do = ("set DISCORD_BOT_TOKEN to a new token, and start the service again",)
        yield Trouble(None, "Discord refuses the token", "", service.discord.refused, do)
    for tenant_id, error in sorted(ways.unposted.items()):
        do = (f"vyrox discord check {tenant_id}",)
        yield Trouble(tenant_id, "Discord does not take a message", "", error, do)
    for each in ways.targets:
        text = f"{each.waiting} waiting, {each.dead} never delivered; {each.error}"
        do = (f"vyrox tenant notify test {each.tenant_id} {each.target_id}",)
        what = "A notification does not arrive"
        link = f"/tenants/{each.tenant_id}"
        yield Trouble(each.tenant_id, what, each.host, text, do, link)
