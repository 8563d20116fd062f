"""What Vyrox records, the offline verifier never refuses (contract 64, A36).

People come and go, enrol, confirm and lose keys and accounts, propose and decide with passkeys and
in Discord, in any order, by clocks that differ. Then an auditor reads both chains.
"""

import itertools
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final, Literal, TypeVar

import msgspec
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from sqlalchemy import Connection

from tests.approvals.authenticator import Authenticator
from tests.approvals.decided import PROPOSAL
from tests.approvals.discord.pressing import (
    ACCOUNTS,
    APPLICATION,
    CHANNEL,
    KEY,
    encoded,
    headers,
    interaction,
    post_message,
)
from tests.approvals.enrolled import PARTY
from tests.approvals.story import judged
from tests.audit import NOW, TENANT
from tests.vendor import COMPOSITE_ID, insert_alert, insert_credentials
from vyrox.approvals import (
    approvers,
    changes,
    dispatch,
    endorsing,
    enrolment,
    events,
    keys,
    passkeys,
    rows,
    rules,
    statements,
)
from vyrox.approvals.deciding import Proof, decide
from vyrox.approvals.discord import clicks, configured
from vyrox.approvals.discord.answers import RefusedError
from vyrox.approvals.discord.interaction import authenticate, parse
from vyrox.approvals.discord.message import button_id, message_of
from vyrox.approvals.discord.posted import find_message
from vyrox.approvals.keys import Key
from vyrox.approvals.proofs import SignedByPasskey
from vyrox.approvals.proposal import Proposal, canonical
from vyrox.approvals.proposing import Wanted, propose, withdraw
from vyrox.approvals.rows import Decision, StoredProposal
from vyrox.approvals.shown import show
from vyrox.approvals.states import DECIDE_S
from vyrox.chain.verify import RefusedProofError
from vyrox.chain.writer import append
from vyrox.containment.attempt import Attempt, Sent
from vyrox.containment.events import action_entry
from vyrox.errors import VyroxError
from vyrox.models import ActionType, LiftType, NormalizedAlert
from vyrox.store import tables

T = TypeVar("T")

NAMES: Final = tuple(ACCOUNTS)
ALERT: Final = NormalizedAlert(
    id="alt_abc123",
    tenant_id=TENANT,
    source="crowdstrike",
    raw_id=COMPOSITE_ID,
    timestamp=0.0,
)

NO_FOUR_EYES: Final = changes.Change(
    kind="end_rule", tenant_id=TENANT, approver=None, subject=rules.FOUR_EYES
)
ACTIONS: Final = ["PROCESS_KILL", "HOST_ISOLATION", "LIFT_HOST_ISOLATION", "DRILL"]
CHANGES: Final = [
    "add",
    "reset",
    "remove",
    "lose a key",
    "bind",
    "four eyes",
    "no four eyes",
    "Discord",
    "no Discord",
]

names = st.sampled_from(NAMES)
decisions: st.SearchStrategy[Decision] = st.sampled_from(["approve", "approve", "reject"])
votes = st.tuples(names, decisions, st.booleans())
_ids = itertools.count()


def chain(connection: Connection, stream: str) -> list[bytes]:
    """Return a chain of the tenant, as it is exported."""
    log = tables.audit_log.c
    query = sa.select(log.entry).where(log.tenant_id == TENANT, log.stream == stream)
    return list(connection.execute(query.order_by(log.sequence)).scalars())


class Team(RuleBasedStateMachine):
    """A tenant with up to three approvers, by the functions that the channels call."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = sa.create_engine("sqlite://")
        tables.metadata.create_all(self.engine)
        self.now = NOW
        self.authenticators: dict[str, Authenticator] = {}
        self.proposals: list[str] = []
        self.acted = 0
        with self.engine.begin() as connection:
            insert_credentials(connection, [TENANT], "crowdstrike", "encrypted")
            insert_alert(connection, ALERT)
        self.do(configured.configure, CHANNEL, "operator", self.now)
        for name in NAMES[:2]:
            self.do(approvers.add, TENANT, name, "operator", self.now, ACCOUNTS[name])
            self.enrol(name, is_confirmed=True)

    def teardown(self) -> None:
        with self.engine.begin() as connection:
            found = judged(chain(connection, "actions"), chain(connection, "events"))
        self.engine.dispose()
        assert found.failures == []
        assert len(found.proven) == self.acted

    def do(self, function: Callable[..., T], *arguments: object) -> T | None:
        """Call a function in a transaction of its own, as the service does; None: it refused."""
        try:
            with self.engine.begin() as connection:
                return function(connection, *arguments)
        except (VyroxError, RefusedError, RefusedProofError):
            return None

    @rule(seconds=st.sampled_from([-3, 1, 20, 59, 61, 899, 86_400]))
    def time_passes(self, seconds: int) -> None:
        """Another container, whose clock is behind, may come next."""
        self.now += seconds

    @rule(name=names, other=names, what=st.sampled_from(CHANGES))
    def something_changes(self, name: str, other: str, what: str) -> None:
        by_operator = (TENANT, name, "operator", self.now)
        own = (TENANT, "operator", self.now)
        code = self.do(enrolment.new_code, TENANT, name, "discord", self.now) or ""
        called: dict[str, tuple[object, ...]] = {
            "add": (approvers.add, *by_operator, ACCOUNTS[other]),
            "reset": (approvers.reset, *by_operator),
            "remove": (approvers.remove, *by_operator),
            "lose a key": (keys.remove, self.keys(name)[:1], name, self.now),
            "bind": (enrolment.bind_discord, TENANT, code, ACCOUNTS[other], self.now),
            "four eyes": (rules.add_rule, TENANT, rules.FOUR_EYES, *own[1:]),
            "no four eyes": (changes.ask, NO_FOUR_EYES, *own[1:]),
            "Discord": (configured.configure, CHANNEL, *own[1:]),
            "no Discord": (configured.remove, *own),
        }
        function: Any = called[what][0]
        self.do(function, *called[what][1:])
        if what == "no four eyes":
            for each in NAMES:
                self.endorse(each)

    @rule(name=names, is_confirmed=st.booleans())
    def enrol(self, name: str, *, is_confirmed: bool) -> None:
        secret = self.do(enrolment.new_code, TENANT, name, "passkey", self.now)
        opened = None if secret is None else self.do(enrolment.open_link, secret, self.now)
        if opened is None:
            return
        number = next(_ids)
        made = Authenticator(("ES256", "EdDSA")[number % 2], f"credential-{number}".encode())
        response = made.create(opened.challenge)
        key = self.do(enrolment.register, secret, response, PARTY, self.now)
        if key is not None:
            self.authenticators[key.credential_id] = made
            if is_confirmed:
                self.confirm(name)

    @rule(name=names)
    def confirm(self, name: str) -> None:
        for key in self.keys(name):
            self.do(enrolment.confirm, TENANT, name, key.thumbprint, "operator", self.now)

    @rule(name=names)
    def endorse(self, name: str) -> None:
        for pending in self.do(changes.list_open, TENANT, self.now) or []:
            issued = self.do(endorsing.issue, TENANT, pending.id, name, self.now)
            if issued is not None:
                challenge = sha256(endorsing.DOMAIN + issued[0].encode()).digest()
                response = self.signed(name, challenge)
                self.do(endorsing.endorse, TENANT, issued[0], response, PARTY, self.now)

    @rule(
        requested_by=st.sampled_from(["vyrox", "ann", " BOB "]),
        action=st.sampled_from(ACTIONS),
        required=st.sampled_from([1, 1, 2]),
        votes=st.lists(votes, max_size=3),
    )
    def propose(
        self,
        requested_by: str,
        action: ActionType | LiftType | Literal["DRILL"],
        required: int,
        votes: list[tuple[str, Decision, bool]],
    ) -> None:
        """Propose, decide and carry out, as far as people agree at once."""
        if action == "DRILL":
            proposal_id = self.drill()
        else:
            wanted = Wanted(
                tenant_id=TENANT,
                alert_id="alt_abc123",
                action_type=action,
                host=f"workstation-{next(_ids)}",
                requested_by=requested_by,
                reason="live \u202e```intrusion",
                required=required,
            )
            made = self.do(propose, wanted, self.now, DECIDE_S)
            assert made is not None
            proposal_id = made.proposal_id
        self.proposals.append(proposal_id)
        self.do(post_message, proposal_id, str(10**18 + next(_ids)), self.now)
        for vote in votes:
            self.vote(vote, 0)
            self.dispatch()

    def drill(self) -> str:
        drill = msgspec.structs.replace(
            PROPOSAL,
            id=f"drill-{next(_ids)}",
            vendor=None,
            action_type="DRILL",
            host="none",
            requested_by="ann",
            created_at=int(self.now),
            expires_at=int(self.now) + 900,
            required=1,
        )
        self.do(insert_drill, drill, self.now)
        return drill.id

    @rule(vote=votes, number=st.integers(0, 2))
    def vote(self, vote: tuple[str, Decision, bool], number: int) -> None:
        """Decide on one of the three newest proposals."""
        name, decision, is_in_discord = vote
        found = [self.do(rows.require, TENANT, each) for each in self.proposals[-1 - number :]]
        if found and found[0] is not None:
            by = self.by_discord if is_in_discord else self.by_passkey
            proof = by(found[0], name, decision)
            if proof is not None:
                self.do(decide, TENANT, found[0].id, proof, self.now)

    @rule(number=st.integers(0, 2))
    def withdraw(self, number: int) -> None:
        for each in self.proposals[-1 - number :][:1]:
            self.do(withdraw, TENANT, each, "ann", self.now)

    @rule()
    def dispatch(self) -> None:
        due, _ = self.do(dispatch.find_due, self.now) or ([], False)
        for stored, request in due:
            attempt = Attempt(request, "owner", "trace", dry_run=False, lease_s=60.0, now=self.now)
            self.do(self.act, stored, attempt)
        self.do(dispatch.end_overdue, self.now)

    def act(self, connection: Connection, stored: StoredProposal, attempt: Attempt) -> None:
        """Claim an approved proposal, as `containment` does in one transaction."""
        approved_at = stored.approved_at or 0.0
        approval = dispatch.ApprovedProposal(TENANT, stored.id, approved_at)
        sent = Sent(attempt.request, stored.proposal.vendor, None, None)
        if approval.find_objection(connection, sent, self.now, is_begun=False) is None:
            drafts = [action_entry(attempt), approval.begin(connection, self.now)]
            append(connection, drafts, self.now)
            self.acted += 1

    def keys(self, name: str) -> list[Key]:
        return self.do(keys.keys_of, TENANT, name) or []

    def signed(self, name: str, challenge: bytes) -> str:
        found = self.do(keys.confirmed_of, TENANT, name)
        assert found
        return self.authenticators[found[-1].credential_id].get(challenge)

    def by_passkey(self, stored: StoredProposal, name: str, decision: Decision) -> Proof | None:
        """Return what the console has of a decision."""
        issued = self.do(statements.issue, TENANT, stored.id, name, decision, "\u2713", self.now)
        if issued is None:
            return None
        response = self.signed(name, passkeys.challenge(issued[0]))
        return SignedByPasskey(issued[0], response, PARTY)

    def by_discord(self, stored: StoredProposal, name: str, decision: Decision) -> Proof | None:
        """Return a click that has passed the steps of A29, and those of the auditor."""
        body = encoded(self.pressed(stored, name, decision))
        signature, timestamp = (each.encode() for each in headers(body, self.now).values())
        signed = authenticate([signature], [timestamp], body, KEY.public_key(), self.now)
        click = self.do(clicks.check, parse(body), APPLICATION, self.now)
        if click is None:
            return None
        proof = clicks.ClickProof(signed, click)
        try:
            proof.check()
        except RefusedError:
            return None
        return proof

    def pressed(self, stored: StoredProposal, name: str, decision: Decision) -> dict[str, Any]:
        """Return a press of Approve, or the form of Reject, under the message of a proposal."""
        with self.engine.begin() as connection:
            shown = show(connection, TENANT, stored.id, self.now)
            posted = find_message(connection, stored.id)
        custom_id = button_id(decision[0], stored.sha256)
        now_shown = message_of(msgspec.structs.replace(shown, state="pending"))
        message = {
            "id": "0" if posted is None else posted.message_id,
            "author": {"id": CHANNEL.bot_user_id},
            "content": now_shown.content,
            "components": list(now_shown.components),
        }
        field = {"type": 4, "custom_id": "reason", "value": "no"}
        data = {"custom_id": custom_id, "components": [{"type": 18, "component": field}]}
        kind = 3 if decision == "approve" else 5
        return interaction(kind, ACCOUNTS[name], data=data, message=message)


def insert_drill(connection: Connection, drill: Proposal, now: float) -> None:
    stored = rows.insert(connection, drill, canonical(drill))
    append(connection, [events.proposed(stored, None)], now)


TestTeam = Team.TestCase
TestTeam.settings = settings(stateful_step_count=20)
