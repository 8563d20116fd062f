"""What each entry and event of the audit log says, in plain words (contract 80)."""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from vyrox.chain.entry import Scalar
from vyrox.chain.reading import Found
from vyrox.console.pages import action_words, outcome_words

Members = Mapping[str, Scalar]

KINDS: Final[dict[str, str]] = {
    "alert.accepted": "An alert came in from {source}: {alert_id}",
    "alert.redelivered": "An alert came in again: {alert_id}",
    "alert.quarantined": "A payload from {source} went to quarantine: {reason}",
    "alert.dead": "An alert was given up after {deliveries} deliveries: {alert_id}",
    "alert.revived": "An alert that was given up was queued again: {alert_id}",
    "alert.verdict": "{by} found the alert {alert_id} {verdict}",
    "incident.opened": "Incident {incident} was opened: {why}",
    "incident.reopened": "Incident {incident} was opened again",
    "incident.merged": "Incident {incident} was joined to {into}",
    "incident.moved": "{by} moved alerts out of incident {incident}",
    "incident.acknowledged": "{by} has taken incident {incident}",
    "incident.assigned": "Incident {incident} now belongs to {assignee}",
    "incident.closed": "{by} closed incident {incident} as {resolution}",
    "incident.commented": "{by} wrote on incident {incident}: {note}",
    "suppression.created": "{by} marked alerts as benign: suppression {suppression}",
    "suppression.confirmed": "{by} confirmed suppression {suppression}",
    "suppression.ended": "Suppression {suppression} ended: {why}",
    "signal.disabled": "{by} switched off the signal {signal}",
    "signal.enabled": "{by} switched on the signal {signal}",
    "approval.rule_added": "{by} added the rule {rule}",
    "approval.rule_ended": "The rule {rule} ended",
    "approver.added": "{by} made {approver} an approver",
    "approver.removed": "{by} took {approver} off the list of approvers",
    "approver.reset": "{by} reset {approver}: earlier passkeys decide no longer",
    "approver.discord_bound": "{approver} may decide in Discord, as account {discord_user_id}",
    "approver.key_added": "{by} made a passkey",
    "approver.key_asked": "{approver} asks that a new passkey may decide",
    "approver.key_confirmed": "{by} let a passkey of {approver} decide",
    "approver.key_removed": "{by} removed a passkey of {approver}",
    "approver.change_asked": "{by} asks approvers to agree to a change of who may decide",
    "approver.change_endorsed": "{approver} agreed to a change of who may decide",
    "approver.sign_count_fell": "The counter of a passkey of {approver} fell: it may be a copy",
    "viewer.added": "{by} let {viewer} look",
    "viewer.removed": "{by} ended that {viewer} may look",
    "break_glass.used": "{by} acted without an approval: {reason}",
    "break_glass.acknowledged": "{approver} acknowledged an action without an approval",
    "lease.lifting": "A containment's time is over: Vyrox lifts it",
    "lease.ended": "A containment ended: {reason}",
    "lease.ending": "A containment ends soon: the approvers were asked",
    "lease.postponed": "A containment runs on: nobody has answered",
    "lease.waiting": "A containment waits to be lifted",
    "lease.failed": "A containment could not be lifted: {reason}",
    "discord.configured": "The channel for proposals in Discord was set",
    "discord.removed": "The channel for proposals in Discord was removed",
    "tenant.changed": "A setting was changed: {change}",
    "notify.target_added": "Notifications now go to {host}",
    "notify.target_removed": "Notifications to a target ended",
    "notify.dead": "A notification could not be delivered: {reason}",
    "notification.dead": "An announced alert could not be fetched: {reason}",
    "poller.stalled": "Polling of {source} fails: {reason}",
    "poller.recovered": "Polling of {source} works again",
    "audit.exported": "The audit log was exported",
    "audit.reader_added": "{by} made a key with which {name} reads the audit log",
    "audit.reader_removed": "{by} ended that {name} may read the audit log",
    "checkpoint.key_changed": "The key that signs checkpoints of the log was changed",
    "graph.lifecycle": "Microsoft Graph says of a subscription: {what}",
    "chain.archived": "Events {first} to {last} went into an archive",
    "auth.failed": "A request could not prove who sent it ({failure})",
}
"""With the members of the event in braces. Other kinds are shown with their name."""

KIND_NAMES: Final = tuple(sorted(KINDS))
"""The kinds that the page offers; others can be typed into its address."""

MAX_MEMBER: Final = 200
"""Characters of one member in a sentence; the raw entry has it whole."""


class _Proposed(msgspec.Struct):
    action_type: str
    host: str
    hostname: str | None = None


class _Blank(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return "?"


def sentence_of(found: Found) -> str:
    """Return what an entry says, as one sentence without markup."""
    members = found.members
    if not members:
        return "This entry cannot be read: somebody has changed it. Verify the log."
    if found.stream == "actions":
        dry = " (dry run: nothing was sent)" if members.get("dry_run") is True else ""
        return f"{action_words(found.kind)}: {_short(members.get('host'))}{dry}"
    special = _SPECIAL.get(found.kind)
    if special is not None:
        return special(members)
    known = KINDS.get(found.kind)
    if known is None:
        return found.kind
    left_out = members.get("not_written")
    if left_out is not None:
        return f"{_short(left_out)} more of this kind were counted, not written: {found.kind}"
    values = {name: _short(value) for name, value in members.items() if value is not None}
    return known.format_map(_Blank(values))


def _short(value: Scalar) -> str:
    text = str(value)
    return text if len(text) <= MAX_MEMBER else f"{text[:MAX_MEMBER]}..."


def _outcome(members: Members) -> str:
    outcome = members.get("outcome")
    words = outcome_words(outcome if isinstance(outcome, str) else None)
    reason = members.get("reason")
    return f"An action was {words}{'' if reason is None else f' ({_short(reason)})'}"


def _refused(members: Members) -> str:
    action_type = members.get("action_type")
    what = action_words(action_type) if isinstance(action_type, str) else "A request"
    return f"Refused: {what}, {_short(members.get('host'))} ({_why(members)})"


def _why(members: Members) -> str:
    return _short(members.get("rule") or members.get("reason") or "no reason is recorded")


def _proposal(members: Members) -> str:
    try:
        proposed = msgspec.json.decode(str(members.get("proposal")), type=_Proposed)
    except (ValueError, UnicodeEncodeError):
        return "An action was proposed"
    host = _short(proposed.hostname or proposed.host)
    return f"Proposed: {action_words(proposed.action_type)}, {host}"


def _decided(members: Members) -> str:
    did = "rejected" if members.get("decision") == "reject" else "approved"
    means = "in Discord" if members.get("proof") == "discord" else "with a passkey"
    return f"{_short(members.get('approver'))} {did} a proposal {means}"


def _ended(members: Members) -> str:
    by = members.get("by")
    return (
        f"A proposal was {_short(members.get('state'))}{'' if by is None else f' by {_short(by)}'}"
    )


def _reopened(members: Members) -> str:
    by = members.get("by")  # None: triage has, because of a new alert
    return f"Incident {_short(members.get('incident'))} was opened again" + (
        "" if by is None else f" by {_short(by)}"
    )


_SPECIAL: Final[dict[str, Callable[[Members], str]]] = {
    "execute.outcome": _outcome,
    "execute.refused": _refused,
    "approval.proposed": _proposal,
    "approval.decided": _decided,
    "approval.ended": _ended,
    "incident.reopened": _reopened,
    "approval.dispatched": lambda _members: "An approved proposal was carried out",
}
