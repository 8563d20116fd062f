"""Announcements for tests."""

from typing import Final

from tests.audit import NOW, TENANT
from vyrox.notify.messages import KINDS, Announcement, Band, Kind, ProposedAction

SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""Source: the example of Standard Webhooks."""


def announcement(
    kind: Kind = "opened",
    *,
    incident: int = 7,
    band: Band = "urgent",
    title: str = "LSASS memory read on ws-01",
    hosts: tuple[str, ...] = ("ws-01", "dc-01"),
) -> Announcement:
    return KINDS[kind](
        tenant_id=TENANT,
        incident=incident,
        band=band,
        score=91.5,
        status="open",
        title=title,
        at=NOW,
        hosts=hosts,
        user="jsmith",
        first_at=NOW - 60,
        last_at=NOW - 1,
        alerts=8,
        reasons=("lsass.dump 0.90", "remote.psexec 0.60"),
        proposed_action=ProposedAction(
            action_type="HOST_ISOLATION",
            host="ws-01",
            device_id="d-1",
            reason="live intrusion: credentials",
        ),
        open_with=f"vyrox incident show {TENANT} {incident}",
    )
