"""What an entry of the audit log is about, if it only names a proposal (contract 80)."""

from collections.abc import Collection, Mapping

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.approvals.proposal import parse
from vyrox.chain.reading import Found
from vyrox.console.pages import action_words
from vyrox.store.tables import proposals

_NAMES = ("proposal_id", "execution")
"""Members that may name a proposal."""

_p = proposals.c


class Subject(msgspec.Struct, frozen=True):
    """An action on a host, and the page of its proposal."""

    words: str
    path: str


def read_subjects(
    connection: Connection, tenant_id: str, entries: Collection[Found]
) -> Mapping[str, Subject]:
    """Return by the hash of an event what the proposal is about that it names.

    Not for the event of the proposal itself, which says it. Not if the text was changed.
    """
    named = {each.hash: found for each in entries if (found := _named(each)) is not None}
    query = sa.select(_p.id, _p.text).where(
        _p.id.in_(sorted(set(named.values()))), _p.tenant_id == tenant_id
    )
    rows = connection.execute(query) if named else ()
    known = {row.id: _subject(row.id, row.text) for row in rows}
    return {
        digest: subject
        for digest, proposal_id in named.items()
        if (subject := known.get(proposal_id)) is not None
    }


def _named(found: Found) -> str | None:
    if found.stream != "events" or found.kind == "approval.proposed":
        return None
    values = (found.members.get(name) for name in _NAMES)
    return next((each for each in values if isinstance(each, str) and "\0" not in each), None)


def _subject(proposal_id: str, text: bytes) -> Subject | None:
    try:
        proposal = parse(text)
    except ValueError:
        return None
    host = "" if proposal.is_drill else f", {proposal.hostname or proposal.host}"
    return Subject(f"{action_words(proposal.action_type)}{host}", f"/approvals/{proposal_id}")
