"""Any order of proposing, deciding, resets and time, against a direct count (contract 62 and 65).

What is dispatched has as many distinct persons as it needs, none of them the requester where two
are needed, each with a passkey or an account that is still theirs, in time, and never twice.
"""

from typing import Final

import msgspec
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, rule

from tests import audit
from tests.approvals.decided import (
    NAMES,
    PROPOSAL,
    Said,
    account_of,
    add_able,
    add_key,
    key_of,
)
from tests.audit import NOW, TENANT
from vyrox.approvals import approvers, dispatch, drills, rows, rules
from vyrox.approvals.deciding import decide
from vyrox.approvals.dispatch import ApprovedProposal
from vyrox.approvals.proposal import canonical, digest
from vyrox.approvals.rows import Decision, ProofKind
from vyrox.approvals.rules import FOUR_EYES
from vyrox.chain.writer import append
from vyrox.containment.attempt import Sent
from vyrox.errors import NotPossibleError, UnauthorizedError
from vyrox.ids import new_id
from vyrox.models import Device
from vyrox.store import tables

DAY_S: Final = 86_400


class Person(msgspec.Struct):
    """With what a person may decide, and when that was last taken away."""

    passkey: str
    account: str | None
    reset_at: float | None = None


class Told(msgspec.Struct):
    """A decision that was recorded."""

    name: str
    decision: Decision
    kind: ProofKind
    means: str | None
    at: float
    is_reset: bool


class Made(msgspec.Struct):
    """A proposal, and what was decided on it."""

    id: str
    sha256: str
    requester: str
    required: int
    expires_at: float
    told: list[Told] = msgspec.field(default_factory=list)
    is_drill: bool = False
    is_dispatched: bool = False


class Tenant(RuleBasedStateMachine):
    made = Bundle("made")

    def __init__(self) -> None:
        super().__init__()
        self.engine = sa.create_engine("sqlite://")
        tables.metadata.create_all(self.engine)
        self.now = NOW
        self.number = 0
        self.has_four_eyes = False
        self.made_by_id: dict[str, Made] = {}
        self.people = {name: Person(key_of(name), account_of(name)) for name in NAMES}
        with self.engine.begin() as connection:
            for name in NAMES:
                add_able(connection, name)

    def teardown(self) -> None:
        self.dispatch()
        self.engine.dispose()

    @rule(
        target=made,
        requester=st.sampled_from(["vyrox", "ann", " BOB"]),
        required=st.integers(1, 2),
    )
    def propose(self, requester: str, required: int) -> Made:
        proposal = msgspec.structs.replace(
            PROPOSAL,
            id=new_id(),
            requested_by=requester,
            required=required,
            created_at=int(self.now),
            expires_at=int(self.now) + 900,
        )
        text = canonical(proposal)
        with self.engine.begin() as connection:
            rows.insert(connection, proposal, text)
        made = Made(proposal.id, digest(text), requester, required, proposal.expires_at)
        self.made_by_id[made.id] = made
        return made

    @rule(target=made)
    def drill(self) -> Made:
        with self.engine.begin() as connection:
            shown = drills.start(connection, TENANT, "ann", self.now)
        made = Made(shown.proposal_id, shown.proposal_sha256, "ann", 1, shown.expires_at)
        made.is_drill = True
        return self.made_by_id.setdefault(made.id, made)

    @rule(
        made=made,
        name=st.sampled_from(NAMES),
        decision=st.sampled_from(["approve", "approve", "approve", "reject"]),
        kind=st.sampled_from(["webauthn", "webauthn", "discord"]),
        with_first_key=st.booleans(),
        then_dispatch=st.booleans(),
    )
    def decide_and_perhaps_dispatch(
        self,
        made: Made,
        name: str,
        decision: Decision,
        kind: ProofKind,
        *,
        with_first_key: bool,
        then_dispatch: bool,
    ) -> None:
        self.decide(made, name, decision, kind, with_first_key=with_first_key)
        if then_dispatch:
            self.dispatch()

    def decide(
        self, made: Made, name: str, decision: Decision, kind: ProofKind, *, with_first_key: bool
    ) -> None:
        person = self.people[name]
        used = key_of(name) if with_first_key else person.passkey
        proof = Said(made.sha256, name, decision, kind, credential_id=used)
        try:
            with self.engine.begin() as connection:
                decide(connection, TENANT, made.id, proof, self.now)
        except (NotPossibleError, UnauthorizedError):
            return
        means = used if kind == "webauthn" else person.account
        is_reset = person.reset_at is not None and self.now < person.reset_at + DAY_S
        made.told.append(Told(name, decision, kind, means, self.now, is_reset))
        assert self.now < made.expires_at

    @rule(made=made, names=st.permutations(NAMES))
    def approve_together(self, made: Made, names: list[str]) -> None:
        for name in names:
            self.decide(made, name, "approve", "webauthn", with_first_key=False)
        self.dispatch()

    @rule(name=st.sampled_from(NAMES))
    def reset(self, name: str) -> None:
        self.number += 1
        passkey = f"{key_of(name)}-{self.number}"
        with self.engine.begin() as connection:
            approvers.reset(connection, TENANT, name, "operator", self.now)
            add_key(connection, name, passkey)
        self.people[name] = Person(passkey, None, self.now)

    @rule()
    def change_four_eyes(self) -> None:
        with self.engine.begin() as connection:
            if self.has_four_eyes:
                rules.end_rule(connection, TENANT, FOUR_EYES, "operator", self.now)
            else:
                rules.add_rule(connection, TENANT, FOUR_EYES, "operator", self.now)
        self.has_four_eyes = not self.has_four_eyes

    @rule(seconds=st.sampled_from([1.0, 1.0, 59.0, 60.0, 899.0, float(DAY_S)]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def dispatch(self) -> None:
        with self.engine.begin() as connection:
            due, _ = dispatch.find_due(connection, self.now)
        for stored, request in due:
            assert stored.approved_at is not None
            approval = ApprovedProposal(TENANT, stored.id, stored.approved_at)
            sent = Sent(request, "crowdstrike", Device("workstation-01"), None)
            with self.engine.begin() as connection:
                if approval.find_objection(connection, sent, self.now, is_begun=False) is None:
                    begun = [audit.action("workstation-01"), approval.begin(connection, self.now)]
                    append(connection, begun, self.now)
                    self.check(self.made_by_id[stored.id])

    def check(self, made: Made) -> None:
        """What was just dispatched may be."""
        assert not made.is_drill
        assert not made.is_dispatched
        made.is_dispatched = True
        assert all(each.decision == "approve" for each in made.told)
        counted = [each for each in made.told if self.counts(made, each)]
        assert len({each.name for each in counted}) >= made.required
        assert made.required == 1 or any(each.kind == "webauthn" for each in counted)
        assert self.now < max(each.at for each in counted) + 60

    def counts(self, made: Made, each: Told) -> bool:
        person = self.people[each.name]
        asked = each.name == made.requester.strip().lower()
        may_ask = made.required == 1 and each.kind == "webauthn" and not self.has_four_eyes
        is_new = made.required == 2 and each.is_reset
        return (
            each.means in {person.passkey, person.account} and (not asked or may_ask) and not is_new
        )


TestTenant = Tenant.TestCase
TestTenant.settings = settings(stateful_step_count=25, deadline=None)
