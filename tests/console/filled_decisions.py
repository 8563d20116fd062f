"""Stores proposals, the decisions about them, and what came of them."""

from hashlib import sha256
from typing import Any, cast

from sqlalchemy import Connection

from tests.console.filled_parts import DAY_S, Chains, device_id, host_name, insert
from vyrox.approvals.proposal import Proposal, canonical, digest
from vyrox.approvals.rows import place_of
from vyrox.chain.entry import Draft
from vyrox.chain.events import event
from vyrox.store import tables as t


class Proposals:
    """Stores the proposals, most of which are over."""

    def __init__(self, chains: Chains) -> None:
        self._chains = chains
        self._size, self._found = chains.size, chains.found

    def store(self, connection: Connection) -> None:
        """Store the proposals and all that belongs to them."""
        self._chains.read_heads(connection)
        found, others = self._found, self._size.others
        drafts: list[tuple[Draft, float]] = []
        proposals, decisions, leases, devices, confirmations = [], [], [], [], []
        for place in range(others):
            tenant_id = self._chains.turn(place)
            at = found.now - 20 * DAY_S * (others - place) / others
            is_open = place >= others - min(300, others // 3)
            host = 1 + place % max(2, self._size.hosts // (1 if place % 2 == 0 else 50))
            proposal = self._proposal(tenant_id, place, host, at, is_open=is_open)
            text = canonical(proposal)
            row = {
                "id": proposal.id,
                "tenant_id": tenant_id,
                "sha256": digest(text),
                "text": text,
                "place": place_of(proposal),
                "state": "pending" if is_open else ("dispatched", "rejected")[place % 3 == 0],
                "created_at": proposal.created_at,
                "expires_at": proposal.expires_at,
                "approved_at": None if is_open or place % 3 == 0 else at + 60.0,
                "ended_at": None if is_open else at + 90.0,
                "end_reason": None,
                "repeats": 0,
            }
            proposals.append(row)
            if tenant_id == found.tenants[0]:
                found.proposals.append(proposal.id)
            drafts.append((_proposed(proposal, text), at))
            if is_open:
                continue
            decisions.append(_decision(proposal, place, at + 60.0))
            drafts += _done(proposal, at + 61.0)
            if place % 3 and place % 4 == 0:
                devices.append(_device(proposal, host))
                confirmations.append(_confirmation(proposal, found.now))
                leases.append(_lease(proposal, host, found.now))
        insert(connection, t.proposals, proposals)
        insert(connection, t.decisions, decisions)
        insert(connection, t.devices, list({_key(row): row for row in devices}.values()))
        insert(connection, t.confirmations, confirmations)
        insert(connection, t.leases, leases)
        drafts.sort(key=lambda pair: pair[1])
        self._chains.append(connection, drafts)

    def _proposal(
        self, tenant_id: str, place: int, host: int, at: float, *, is_open: bool
    ) -> Proposal:
        found = self._found
        bits = f"{self._chains.random.getrandbits(128):032x}"
        is_first = tenant_id == found.tenants[0]
        return Proposal(
            id=f"{bits[:8]}-{bits[8:12]}-4{bits[13:16]}-a{bits[17:20]}-{bits[20:]}",
            tenant_id=tenant_id,
            alert_id=found.alerts[place % len(found.alerts)] if is_first else "of-another-time",
            vendor="crowdstrike",
            action_type="HOST_ISOLATION",
            host=device_id(tenant_id, host),
            hostname=host_name(host),
            process=None,
            device_state=None,
            lease_s=14_400,
            requested_by="vyrox",
            reason="score 97: it deletes the shadow copies",
            created_at=int(at),
            expires_at=int(found.now + 40 * DAY_S if is_open else at + 900),
            required=1,
            nonce=bits[:22],
        )


def _proposed(proposal: Proposal, text: bytes) -> Draft:
    members = {
        "kind": "approval.proposed",
        "request_id": None,
        "proposal_id": proposal.id,
        "proposal_sha256": digest(text),
        "proposal": text.decode(),
    }
    return Draft(proposal.tenant_id, "events", "approval.proposed", cast("Any", members))


def _done(proposal: Proposal, at: float) -> list[tuple[Draft, float]]:
    entry = Draft(
        proposal.tenant_id,
        "actions",
        proposal.action_type,
        {
            "action_type": proposal.action_type,
            "host": proposal.host,
            "approved_by": "solo",
            "dry_run": False,
        },
    )
    outcome = event(
        "execute.outcome",
        proposal.tenant_id,
        None,
        execution=proposal.id,
        entry="",
        outcome="confirmed",
        reason=None,
        alert_id=proposal.alert_id,
        force=False,
    )
    return [(entry, at), (outcome, at)]


def _decision(proposal: Proposal, place: int, at: float) -> dict[str, Any]:
    return {
        "proposal_id": proposal.id,
        "approver": "solo",
        "decision": ("approve", "reject")[place % 3 == 0],
        "proof": "webauthn",
        "proof_key": f"proof-{proposal.id}",
        "at": at,
        "entry_hash": sha256(proposal.id.encode()).hexdigest(),
        "means": "a-key",
        "comment": "seen",
    }


def _device(proposal: Proposal, host: int) -> dict[str, Any]:
    return {
        "tenant_id": proposal.tenant_id,
        "vendor": proposal.vendor,
        "device_id": proposal.host,
        "hostname": host_name(host).lower(),
        "lease_until": 0.0,
        "token": 1,
    }


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["tenant_id"], row["vendor"], row["device_id"]


def _confirmation(proposal: Proposal, now: float) -> dict[str, Any]:
    return {
        "entry_hash": sha256(b"c" + proposal.id.encode()).hexdigest(),
        "tenant_id": proposal.tenant_id,
        "vendor": proposal.vendor,
        "device_id": proposal.host,
        "execution": proposal.id.encode(),
        "target": "contained",
        "attempts": 1,
        "next_at": now,
        "until_at": now,
        "token": 1,
        "is_sent": True,
        "is_settled": True,
    }


def _lease(proposal: Proposal, host: int, now: float) -> dict[str, Any]:
    return {
        "proposal_id": proposal.id,
        "tenant_id": proposal.tenant_id,
        "vendor": proposal.vendor,
        "device_id": proposal.host,
        "hostname": host_name(host).lower(),
        "action_type": proposal.action_type,
        "alert_id": proposal.alert_id.encode(),
        "sha256": digest(canonical(proposal)),
        "entry_hash": sha256(b"c" + proposal.id.encode()).hexdigest(),
        "token": 1,
        "lease_s": 14_400,
        "since": now - 3600.0,
        "began_at": now - 3600.0,
        "ends_at": now + 40 * DAY_S,
        "attempts": 0,
        "next_at": now + 40 * DAY_S,
    }
