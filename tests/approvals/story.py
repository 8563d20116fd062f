"""A tenant's two chains with approvals in them, written entry by entry (contract 64)."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection

from tests.approvals.authenticator import Authenticator, b64
from tests.audit import TENANT
from vyrox.approvals import passkeys
from vyrox.chain import verify
from vyrox.chain.entry import GENESIS, Draft, Scalar, Stream, seal
from vyrox.chain.writer import append

START: Final = 1_704_067_200
DISCORD_USER: Final = "80351110224678912"

Members = dict[str, Any]
Change = Callable[[Members], None]


def canonical(members: Members) -> str:
    return json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def proposal(**changes: object) -> Members:
    """Return the members of a proposal (A1)."""
    return {
        "v": 1,
        "id": "5f0e2c1a-7c3f-4e0b-9a55-0d0a3f7f1c11",
        "tenant_id": TENANT,
        "alert_id": "alert-1",
        "vendor": "crowdstrike",
        "action_type": "HOST_ISOLATION",
        "host": "workstation-01",
        "hostname": "W\u00d6RK`01",
        "process": None,
        "device_state": "normal",
        "lease_s": 14400,
        "requested_by": "vyrox",
        "reason": "credential theft",
        "created_at": START,
        "expires_at": START + 900,
        "required": 1,
        "nonce": b64(bytes(16)),
        **changes,
    }


def digest(text: str) -> str:
    return hashlib.sha256(b"vyrox-proposal-v1\n" + text.encode()).hexdigest()


def raw_decision(response: str, statement: str, proposal_id: str) -> Members:
    """Return what `passkeys.decide` returns, without any check."""
    answer, signed = json.loads(response), json.loads(statement)
    return {
        "proposal_id": proposal_id,
        "proposal_sha256": signed["proposal_sha256"],
        "decision": signed["decision"],
        "approver": signed["approver"],
        "proof": "webauthn",
        "statement": statement,
        "credential_id": answer["id"],
        "client_data": answer["response"]["clientDataJSON"],
        "authenticator_data": answer["response"]["authenticatorData"],
        "signature": answer["response"]["signature"],
    }


class Discord:
    """Discord's key, and a channel of it."""

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.configured: Members = {
            "application_id": "1",
            "public_key": self.key.public_key().public_bytes_raw().hex(),
            "guild_id": "2",
            "channel_id": "3",
            "bot_user_id": "4",
        }

    def click(self, on: Members, decision: str = "approve") -> Members:
        """Return the body of a click under a proposal, to be changed and then signed."""
        sha256 = digest(canonical(on))
        custom_id = f"v1:{decision[0]}:{b64(bytes.fromhex(sha256))}"
        button = {"type": 2, "style": 3, "custom_id": custom_id}
        return {
            "type": 3,
            "application_id": "1",
            "guild_id": "2",
            "channel_id": "3",
            "data": {"component_type": 2, "custom_id": custom_id},
            "member": {"user": {"id": DISCORD_USER, "username": "omar"}},
            "message": {
                "id": "9",
                "author": {"id": "4"},
                "content": f"<@&5> approve?\n```\n{verify.display(on)}\n```",
                "components": [{"type": 1, "components": [button]}],
            },
        }

    def decision(
        self, on: Members, body: Members | bytes, decision: str = "approve", at: int = START + 20
    ) -> Members:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return {
            "proposal_id": on["id"],
            "proposal_sha256": digest(canonical(on)),
            "decision": decision,
            "approver": "omar",
            "proof": "discord",
            "signature_timestamp": str(at),
            "body": b64(raw),
            "signature": self.key.sign(str(at).encode() + raw).hex(),
        }


class Story:
    """Two chains in memory. Each entry gets `now`, which the caller moves.

    Args:
        changes: By the kind of an event, what is changed in it before it is hashed.
    """

    def __init__(self, changes: dict[str, Change] | None = None) -> None:
        self.now = START + 10
        self.lines: dict[Stream, list[bytes]] = {"actions": [], "events": []}
        self.drafts: list[tuple[Draft, int]] = []
        self._heads: dict[Stream, str] = {"actions": GENESIS, "events": GENESIS}
        self._changes = changes or {}

    def add(self, stream: Stream, members: dict[str, Scalar]) -> str:
        kind = str(members.get("kind", members.get("action_type")))
        self.drafts.append((Draft(TENANT, stream, kind, members), self.now))
        sealed = seal({"tenant_id": TENANT, **members}, self._heads[stream], self.now)
        self.lines[stream].append(sealed.json)
        self._heads[stream] = sealed.hash
        return sealed.hash

    def event(self, kind: str, **members: Scalar) -> str:
        if kind in self._changes:
            self._changes[kind](members)
        return self.add("events", {"kind": kind, "request_id": None, **members})

    def approver(self, name: str, discord_user_id: str | None = None) -> None:
        self.event("approver.added", approver=name, discord_user_id=discord_user_id, by="root")

    def enrol(
        self, name: str, authenticator: Authenticator, *, is_confirmed: bool = True
    ) -> dict[str, Scalar]:
        challenge = bytes(32)
        party = passkeys.RelyingParty(authenticator.rp_id, authenticator.origin)
        key = passkeys.enrol(authenticator.create(challenge), challenge, name, party)
        self.event("approver.key_added", **key, by=name)
        if is_confirmed:
            self.key_event("confirmed", key)
        return key

    def key_event(self, what: str, key: dict[str, Scalar]) -> None:
        """Append that a key was confirmed or removed."""
        names = ("approver", "credential_id")
        members = {name: key[name] for name in names}
        thumbprint = verify.check_key(key).thumbprint
        self.event(f"approver.key_{what}", **members, thumbprint=thumbprint, by="root")

    def propose(self, on: Members) -> None:
        text = canonical(on)
        self.event(
            "approval.proposed", proposal_id=on["id"], proposal_sha256=digest(text), proposal=text
        )

    def act(self, on: Members, names: str, *, dry_run: bool = False) -> str:
        return self.add(
            "actions",
            {
                "action_type": on["action_type"],
                "host": on["host"],
                "approved_by": f"{names} sha256:{digest(canonical(on))}",
                "dry_run": dry_run,
            },
        )

    def end_lease(self, on: Members, host: str | None = None) -> str:
        """Append a lift at the end of the lease of a proposal, and its event."""
        host = host or str(on["host"])
        lift = self.lift(host, f"lease {digest(canonical(on))}", dry_run=False)
        members = {"proposal_id": on["id"], "device_id": host, "attempt": 1}
        self.event("lease.lifting", **members, action_hash=lift)
        return lift

    def lift(self, host: str, approved_by: str, **members: Scalar) -> str:
        """Append an action that no proposal has."""
        asked = {"action_type": "LIFT_HOST_ISOLATION", "host": host, "approved_by": approved_by}
        return self.add("actions", {**asked, "dry_run": True, **members})

    def dispatch(self, on: Members, action_hash: str, *decisions: str) -> None:
        self.event(
            "approval.dispatched",
            proposal_id=on["id"],
            action_hash=action_hash,
            decisions=",".join(decisions),
        )

    def append(self, connection: Connection) -> None:
        """Append the same entries with the service's writer."""
        for draft, now in self.drafts:
            append(connection, [draft], now)

    def write(self, directory: Path) -> list[str]:
        paths = []
        for stream, lines in self.lines.items():
            path = directory / f"{stream}.ndjson"
            path.write_bytes(b"".join(line + b"\n" for line in lines))
            paths.append(str(path))
        return paths

    def verify(self, pins: verify.Pins | None = None) -> verify.Approvals:
        """Return what the verifier finds, without files."""
        return judged(self.lines["actions"], self.lines["events"], pins)


def judged(
    of_actions: Sequence[bytes], of_events: Sequence[bytes], pins: verify.Pins | None = None
) -> verify.Approvals:
    """Return what the verifier finds in the lines of both chains."""
    actions: dict[str, verify.Action] = {}

    def keep(number: int, entry: verify.Entry, entry_hash: str) -> None:
        actions[entry_hash] = verify.Action.of(number, entry)

    approvals = verify.Approvals(actions, pins)
    for lines, each in ((of_actions, keep), (of_events, approvals.add)):
        chain = verify.Chain(each)
        for line in lines:
            chain.add(line)
    return approvals


def sign(
    on: Members,
    authenticator: Authenticator,
    name: str = "jane",
    decision: Literal["approve", "reject"] = "approve",
) -> tuple[str, str]:
    """Return a new statement on a proposal, and the response of the passkey to it."""
    sha256 = digest(canonical(on))
    statement = passkeys.new_statement(sha256, decision, name, "call \u2713", START + 15)
    return statement, authenticator.get(passkeys.challenge(statement))


def told(
    on: Members,
    decision: Members,
    authenticator: Authenticator,
    changes: dict[str, Change] | None = None,
    discord: Discord | None = None,
) -> Story:
    """Return a whole story: one proposal, one decision, one action."""
    story = begun(on, authenticator, changes, discord)
    decided = story.event("approval.decided", **decision)
    story.dispatch(on, story.act(on, str(decision["approver"])), decided)
    return story


def begun(
    on: Members,
    authenticator: Authenticator,
    changes: dict[str, Change] | None = None,
    discord: Discord | None = None,
) -> Story:
    """Return a story with a proposal that no person has decided on."""
    story = Story(changes)
    story.approver("jane")
    story.approver("omar", DISCORD_USER)
    story.enrol("jane", authenticator)
    if discord is not None:
        story.event("discord.configured", **discord.configured)
    story.propose(on)
    story.now += 10
    return story
