"""Whether a tenant's alerts arrive from a vendor, in words, and what to do (contract 75).

`vyrox tenant check` and the console show the same.
"""

from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from vyrox.clock import utc_text
from vyrox.models import Vendor
from vyrox.polling.arrivals import MAX_COUNTED, Arrivals
from vyrox.polling.rows import STALL_S
from vyrox.tenants.records import TenantRow
from vyrox.tenants.webhook_options import header_of, scheme_of


class Finding(msgspec.Struct, frozen=True):
    """One line: what was found. Only `wrong` makes the command fail.

    Attributes:
        do: What to do, a line for each way.
    """

    name: str
    state: Literal["ok", "wrong", "info"]
    text: str
    do: tuple[str, ...] = ()


class Fingerprints(msgspec.Struct, frozen=True):
    """The first 8 hexadecimal digits of each secret's SHA-256; None: missing, or not readable."""

    present: str | None = None
    previous: str | None = None


NOTHING_YET: Final = "none yet"

_SCENARIOS: Final[dict[Vendor, str]] = {
    "crowdstrike": "mimikatz",
    "sentinelone": "psexec",
    "defender": "lsass-dump",
    "generic": "backup",
}


def findings(found: Arrivals, prints: Fingerprints, now: float) -> list[Finding]:
    """Return what was found, the most basic first."""
    lines = [_webhook(found)]
    if found.onboarded is not None and found.onboarded.enabled:
        lines += _secrets(found.onboarded, found, prints, now)
    lines.append(_alert(found))
    if found.refusal is not None:
        lines.append(_refusal(found, prints))
    if found.kept is not None:
        lines.append(_kept(found))
    return [*lines, *_poller(found, now), *_announced(found, now)]


def _webhook(found: Arrivals) -> Finding:
    row = found.onboarded
    if row is not None and row.enabled:
        path = f"/webhook/{found.vendor}/{found.tenant_id}"
        return Finding("webhook", "ok", f"{scheme_of(found.vendor, row.webhook)}, at {path}")
    state = "not onboarded" if row is None else "removed"
    if found.poller is not None:
        return Finding("webhook", "info", f"{state}: alerts are only pulled")
    add = f"vyrox tenant add {found.tenant_id} --vendor {found.vendor}"
    is_default = row is None and found.alert_at is not None
    text = f"{state}; deliveries used the vendor's default secret" if is_default else state
    return Finding("webhook", "wrong", text, (add,))


def _secrets(
    row: TenantRow, found: Arrivals, prints: Fingerprints, now: float
) -> Iterator[Finding]:
    if prints.present is None:
        text = "no key of this machine decrypts it"
        yield Finding("secret", "wrong", text, _for_unreadable(found))
    else:
        used = "not used yet" if row.used_at is None else f"last used {utc_text(row.used_at)}"
        yield Finding("secret", "ok", f"{prints.present}, {used}")
    if row.previous_expires_at is None or row.previous_expires_at <= now:
        return
    text = f"{prints.previous or 'not readable'}, valid until {utc_text(row.previous_expires_at)}"
    if row.previous_used_at is not None and row.previous_used_at > (row.used_at or 0.0):
        do = f"set the new secret at the sender before {utc_text(row.previous_expires_at)} UTC"
        text += f", used {utc_text(row.previous_used_at)}"
        yield Finding("previous", "wrong", text, (do,))
    else:
        yield Finding("previous", "info", text)


def _for_unreadable(found: Arrivals) -> tuple[str, ...]:
    rotate = f"vyrox tenant rotate {found.tenant_id} --vendor {found.vendor}"
    return ("add the old key: VYROX_ENCRYPTION_KEY=NEW,OLD", f"or, if it is lost: {rotate}")


def _alert(found: Arrivals) -> Finding:
    if found.alert_at is not None:
        return Finding("last alert", "ok", utc_text(found.alert_at))
    if found.poller is not None:
        return Finding("last alert", "info", NOTHING_YET)
    if found.onboarded is not None and found.onboarded.webhook.signature == "standard":
        do = ["send one at the sender: `vyrox simulate` does not sign as Standard Webhooks"]
    else:
        test = f"vyrox simulate {_SCENARIOS[found.vendor]} --tenant {found.tenant_id}"
        variable = f"{found.vendor.upper()}_WEBHOOK_SECRET"
        do = [f"send a test alert: {test}", f"it reads the tenant's secret from {variable}"]
    return Finding("last alert", "wrong", NOTHING_YET, tuple(do))


def _refusal(found: Arrivals, prints: Fingerprints) -> Finding:
    refusal = found.refusal
    assert refusal is not None  # noqa: S101
    how = f" ({refusal.how})" if refusal.how else ""
    text = f"{utc_text(refusal.at)} 401 {refusal.failure}{how}"
    if refusal.at <= _last_good(found):
        return Finding("last 401", "info", f"{text}, before the last delivery")
    return Finding("last 401", "wrong", text, _what_to_do(found, refusal.failure, prints))


def _last_good(found: Arrivals) -> float:
    """Return the latest time at which a delivery is known to have had a valid credential."""
    row = found.onboarded
    used = [] if row is None else [row.used_at, row.previous_used_at]
    if found.poller is None:  # else the last alert may be a polled one
        used.append(found.alert_at)
    return max((each for each in used if each is not None), default=0.0)


def _what_to_do(found: Arrivals, failure: str, prints: Fingerprints) -> tuple[str, ...]:
    row = found.onboarded
    if row is None or not row.enabled:
        return (f"vyrox tenant add {found.tenant_id} --vendor {found.vendor}",)
    if failure in ("missing", "missing_credential"):  # the second is of an earlier version
        return (f"let the sender set {header_of(found.vendor, row.webhook).partition(':')[0]}",)
    if failure == "stale":
        return ("set the clocks of the sender and of this machine: they differ by 5 minutes",)
    if prints.present is None:
        return _for_unreadable(found)
    do = [f"compare: SHA-256 of the sender's secret must begin with {prints.present}"]
    other = {"vyrox": "falcon", "falcon": "falcon-hex", "falcon-hex": "falcon"}
    if found.vendor == "crowdstrike":
        scheme = other[row.webhook.signature]
        do.append(
            f"or: vyrox tenant set {found.tenant_id} --vendor crowdstrike --signature {scheme}"
        )
    return tuple(do)


def _kept(found: Arrivals) -> Finding:
    kept = found.kept
    assert kept is not None  # noqa: S101
    return Finding(
        "last 422",
        "wrong",
        f"{_counted(kept.number, 'payload')} waiting, the last of {utc_text(kept.last_at)} UTC: "
        f"{kept.reason}",
        (f"vyrox queue quarantine list {found.tenant_id}",),
    )


def _poller(found: Arrivals, now: float) -> Iterator[Finding]:
    poller = found.poller
    if poller is None:
        return
    lag = poller.lag_s(now)
    last = "never" if poller.succeeded_at is None else utc_text(poller.succeeded_at)
    text = f"last success {last}, lag {lag:.0f} s"
    check = f"vyrox tenant edr check {found.tenant_id} --vendor {found.vendor}"
    if poller.failures:
        error = poller.last_error or "unknown"
        yield Finding("poller", "wrong", f"{text}, {_counted(poller.failures, 'failure')}")
        yield Finding("poll error", "wrong", error, (check,))
    elif lag > STALL_S:
        yield Finding("poller", "wrong", text, ("is the service running? See its log", check))
    else:
        yield Finding("poller", "ok", text)


def _announced(found: Arrivals, now: float) -> Iterator[Finding]:
    """Yield what Graph has announced and Vyrox has not fetched. That it waits a moment is usual."""
    waiting = found.notices
    if waiting is None:
        return
    text = f"{_counted(waiting.number, 'alert')} waiting, since {utc_text(waiting.since)}"
    check = f"vyrox tenant edr check {found.tenant_id} --vendor {found.vendor}"
    if waiting.failing:
        yield Finding("announced", "wrong", f"{text}, {waiting.failing} failed", (check,))
        yield Finding("graph says", "wrong", waiting.error or "see the service's log", (check,))
    elif waiting.since < now - STALL_S:
        yield Finding("announced", "wrong", text, ("is the service running? See its log", check))
    else:
        yield Finding("announced", "info", text)


def _counted(number: int, what: str) -> str:
    more = " or more" if number == MAX_COUNTED else ""
    return f"{number}{more} {what}{'' if number == 1 else 's'}"
