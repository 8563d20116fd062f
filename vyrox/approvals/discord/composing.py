"""The message that a row should be now, from what the database holds (contract 67, A31)."""

import logging

import msgspec
from sqlalchemy import Connection

from vyrox import log
from vyrox.approvals import pings, rows
from vyrox.approvals.discord.configured import Channel
from vyrox.approvals.discord.evidence import evidence_of, evidence_of_incident
from vyrox.approvals.discord.message import (
    Message,
    incident_message,
    message_of,
    notice_message,
)
from vyrox.approvals.discord.posted import Posted
from vyrox.approvals.proposal import parse
from vyrox.approvals.shown import show
from vyrox.errors import NotFoundError
from vyrox.triage.incident_ids import parse_id


def message_for(
    connection: Connection, row: Posted, channel: Channel | None, now: float, console: str | None
) -> Message | None:
    """Return what the row's message should be, or None if that cannot be known."""
    try:
        return _made(connection, row, channel, now, console)
    except (ValueError, NotFoundError) as exc:  # it was changed in the database, or is gone
        log.event(
            "discord.unreadable",
            logging.ERROR,
            tenant=row.tenant_id,
            id=row.id,
            reason=str(exc),
        )
        return None


def _made(
    connection: Connection, row: Posted, channel: Channel | None, now: float, console: str | None
) -> Message:
    is_new = row.message_id is None
    if row.kind in {"notice", "alarm"}:
        role_id = channel.on_call_role_id if channel is not None and row.kind == "alarm" else None
        return notice_message(row.text or "", role_id, _page(console, row.link))
    if row.kind == "incident":
        return incident_message(evidence_of_incident(connection, parse_id(row.id), now))
    shown = show(connection, row.tenant_id, row.id, now)
    role_id, evidence = None, None
    if is_new:
        role_id = _mentioned(connection, row, channel, now)
        alert_id = parse(shown.proposal.encode()).alert_id
        evidence = evidence_of(connection, row.tenant_id, alert_id, now)
    message = message_of(
        shown,
        evidence=evidence,
        role_id=role_id,
        link=_page(console, f"/approvals/{row.id}"),
    )
    return msgspec.structs.replace(message, components=()) if row.is_altered else message


def _page(console: str | None, path: str | None) -> str | None:
    return None if console is None or path is None else console + path


def _mentioned(
    connection: Connection, row: Posted, channel: Channel | None, now: float
) -> str | None:
    """Return the role that the message of a new proposal mentions, within the limit of an hour."""
    if channel is None or channel.on_call_role_id is None:
        return None
    stored = rows.require(connection, row.tenant_id, row.id)
    return channel.on_call_role_id if pings.admit(connection, stored, now).is_pinged else None
