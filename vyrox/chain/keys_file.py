"""`keys.json` beside an export: which keys were in force, and when (contract 97).

It has the keys with which the log signs its checkpoints, those of its witnesses, and those with
which people have decided, as the exported events enrolled them. docs/AUDIT_CHAIN.md has its form.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from vyrox.chain.identity import KnownKey, Signer
from vyrox.chain.notes import Key
from vyrox.chain.verify import RefusedProofError, check_key

NAME: Final = "keys.json"

_RELEVANT: Final = (b'"kind":"approver.', b'"kind":"discord.')
"""Every other event is passed over without being decoded."""

_OF_A_KEY: Final = ("approver", "alg", "credential_id", "rp_id", "origin")

Members = dict[str, Any]


class KeysInForce:
    """Follows the events of a tenant: whose key decides from when until when."""

    def __init__(self) -> None:
        """Begin before the first event."""
        self.approvers: list[Members] = []
        self.discord: list[Members] = []
        self._added: dict[tuple[str, str], Members] = {}

    def add(self, line: bytes) -> None:
        """Read the next event. What cannot be read is for the verifier to name."""
        if not any(each in line for each in _RELEVANT):
            return
        try:
            event = msgspec.json.decode(line, type=Members)
            self._follow(str(event["kind"]), event, int(event["timestamp"]))
        except (ValueError, KeyError, TypeError, RefusedProofError):
            return

    def add_retained(self, lines: bytes) -> None:
        """Read lines of `retained-events.txt`: events before those that `add` gets."""
        for line in lines.splitlines():
            self.add(line.partition(b" ")[2])

    def _follow(self, kind: str, event: Members, at: int) -> None:
        match kind:
            case "approver.key_added":
                key = check_key(event)
                shown = {name: event[name] for name in _OF_A_KEY}
                self._added[key.approver, key.credential_id] = {
                    **shown,
                    "thumbprint": key.thumbprint,
                }
            case "approver.key_confirmed":
                added = self._added[event["approver"], event["credential_id"]]
                self.approvers.append({**added, "since": at, "until": None})
            case "approver.key_removed":
                _end(self.approvers, at, event, ("approver", "credential_id"))
            case "approver.removed" | "approver.reset":
                _end(self.approvers, at, event, ("approver",))
            case "discord.configured" | "discord.removed":
                _end(self.discord, at, event, ())
                if kind == "discord.configured":
                    shown = {name: event[name] for name in ("public_key", "application_id")}
                    self.discord.append({**shown, "since": at, "until": None})


def _end(keys: Iterable[Members], at: int, event: Members, names: Sequence[str]) -> None:
    for each in keys:
        if each["until"] is None and all(each[name] == event[name] for name in names):
            each["until"] = at


def keys_file(
    tenant_id: str,
    in_force: KeysInForce | None,
    signer: Signer | None,
    known: Sequence[KnownKey],
    witnesses: Sequence[str],
) -> bytes | None:
    """Return the file, or None if no key is known.

    Args:
        in_force: None if not all events were read: then it names no approver.
        known: The keys that have signed checkpoints, in order.
        witnesses: The verifier keys of the witnesses.
    """
    ends = [*(each.since for each in known[1:]), None]
    log_keys: list[Members] = [
        {"key": str(Key(each.log, each.public_key)), "since": each.since, "until": until}
        for each, until in zip(known, ends, strict=False)
    ]
    if signer is not None:
        active = str(Key(signer.log_name, signer.keys[0].public))
        if active not in [each["key"] for each in log_keys]:
            log_keys.append({"key": active, "since": None, "until": None})
    members: Members = {
        "tenant_id": tenant_id,
        "log_keys": log_keys,
        "successions": [each.endorsement for each in known if each.endorsement is not None],
        "witnesses": [{"key": each} for each in witnesses],
    }
    if in_force is not None:
        members |= {"approvers": in_force.approvers, "discord": in_force.discord}
    if not any(value for name, value in members.items() if name != "tenant_id"):
        return None
    return msgspec.json.format(msgspec.json.encode(members), indent=1) + b"\n"
