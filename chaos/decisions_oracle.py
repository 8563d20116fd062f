"""What must hold between what persons know, the rows, the vendor's changes and the log."""

import asyncio
import signal
from typing import Final

from chaos.decisions_place import TENANT, Place
from chaos.part import Row
from chaos.site import let_leases_lapse, uncaught
from tests.service import Service
from vyrox.chain.entry import Stream
from vyrox.chain.export import pages
from vyrox.chain.verify import NothingToCheckError, verify_approvals

ACT_WITHIN_S: Final = 60.0
"""From the quorum to the last change at the vendor, as promised."""

QUIET_S: Final = 2.0
"""How long the last service runs without a further action, once the leases are over."""


async def judge(
    part: str, place: Place, *, are_late: bool, service: Service | None = None
) -> list[Row]:
    """Compare what the persons know, the rows, the vendor's changes and the log."""
    if service is None:
        await let_leases_lapse(place.database)
        async with place.service() as last:
            await asyncio.sleep(QUIET_S)
            last.signal(signal.SIGTERM)
            status = await last.ended()
    else:
        service.signal(signal.SIGTERM)
        status = await service.ended()
    states = [(click, await place.stored(click)) for click in place.clicks]
    effects, changed_at = place.site.vendor.effects, place.site.vendor.changed_at
    late = [
        click
        for click, stored in states
        if changed_at.get(click.host, 0.0) > (stored.approved_at or 0.0) + ACT_WITHIN_S
    ]
    lost = [c for c, stored in states if c.is_acknowledged and stored.approved_at is None]
    expected = "lapsed" if are_late else "dispatched"
    other = [stored.stored_state for _, stored in states if stored.stored_state != expected]
    errors = [line for each in place.seen for line in uncaught(each)]
    count = len(place.clicks)
    return [
        Row(part, "decisions acknowledged and lost", _acknowledged(place), len(lost)),
        Row(part, "devices changed twice", effects.total(), sum(n > 1 for n in effects.values())),
        Row(part, "changes later than 60 s, or without an approval", effects.total(), len(late)),
        Row(part, f"proposals not {expected}", count, len(other), ", ".join(other)),
        await _verified(part, place),
        Row(
            part,
            "ended badly, and uncaught",
            len(place.seen),
            len(errors) + int(status != 0),
            "; ".join(errors[:3]),
        ),
    ]


def _acknowledged(place: Place) -> int:
    return sum(click.is_acknowledged for click in place.clicks)


async def _verified(part: str, place: Place) -> Row:
    """Check the export as an auditor does; each change at the vendor has a proven action."""
    effects = set(place.site.vendor.effects)
    actions, events = await _export(place, "actions"), await _export(place, "events")
    what = "actions that an auditor does not find proven"
    try:
        report = verify_approvals(actions, events)
    except NothingToCheckError:  # no action at all, as it should be after 60 s
        return Row(part, what, 0, len(effects))
    proven = {each.action.host for each in report.findings if each.not_proven is None}
    wrong = len(effects - proven) + len(report.failures)
    figure = "; ".join(str(each) for each in report.failures[:2])
    return Row(part, what, len(report.findings), wrong, figure)


async def _export(place: Place, stream: Stream) -> str:
    path = place.site.data_dir / f"{stream}.ndjson"
    lines = [line async for page in pages(place.database, TENANT, stream) for line in page]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return str(path)
