"""The proof that a passkey makes of a decision (contract 65)."""

from typing import Final

from sqlalchemy import Connection

from vyrox.approvals import keys, passkeys, statements
from vyrox.approvals.deciding import Verified
from vyrox.approvals.keys import Key
from vyrox.approvals.passkeys import RelyingParty
from vyrox.chain.entry import Scalar
from vyrox.chain.verify import RefusedProofError
from vyrox.errors import UnauthorizedError

MAX_RESPONSE: Final = 16_384
"""Characters of what the browser returns, and of a statement."""


class SignedByPasskey:
    """A statement of `statements.issue`, signed in a browser. See `deciding.Proof`."""

    def __init__(self, statement: str, response: str, relying_party: RelyingParty) -> None:
        """Create it.

        Args:
            statement: Its text.
            response: What `navigator.credentials.get()` returned, as JSON.
            relying_party: The console's.
        """
        self._statement = statement
        self._response = response
        self._relying_party = relying_party

    def verify(self, connection: Connection, tenant_id: str, now: float) -> Verified:
        """Return what was signed, and use the statement up.

        Raises:
            UnauthorizedError: It is not valid. The text of the error does not reach the person.
        """
        check_size(tenant_id, self._statement, self._response)
        proposal_id, approver = statements.use(connection, tenant_id, self._statement, now)
        key = signing_key(connection, tenant_id, approver, self._response, self._relying_party)
        try:
            signed = passkeys.parse_statement(self._statement)
            members = passkeys.decide(
                self._response, self._statement, proposal_id, key.members, now
            )
        except RefusedProofError as exc:
            raise UnauthorizedError(str(exc), tenant_id) from exc
        keys.note_sign_count(connection, key, passkeys.sign_count(members), now)
        return Verified(
            "webauthn",
            signed.approver,
            signed.proposal_sha256,
            signed.decision,
            statements.hash_of(self._statement),
            members,
            signed.comment,
        )


def verify_statement(
    connection: Connection,
    tenant_id: str,
    statement: str,
    response: str,
    relying_party: RelyingParty,
    challenge: bytes,
    now: float,
) -> tuple[str, str, dict[str, Scalar]]:
    """Use up a statement that is no decision; return its subject, its approver and the proof.

    Raises:
        UnauthorizedError: It is not valid.
    """
    check_size(tenant_id, statement, response)
    subject, approver = statements.use(connection, tenant_id, statement, now)
    key = signing_key(connection, tenant_id, approver, response, relying_party)
    try:
        signed = passkeys.assertion(response, challenge, key.members)
    except RefusedProofError as exc:
        raise UnauthorizedError(str(exc), tenant_id) from exc
    keys.note_sign_count(connection, key, passkeys.sign_count(signed), now)
    return subject, approver, {"approver": approver, "statement": statement, **signed}


def check_size(tenant_id: str, *texts: str) -> None:
    """Raise UnauthorizedError if a text is longer than any that a browser sends."""
    if any(len(text) > MAX_RESPONSE for text in texts):
        raise UnauthorizedError("response_too_long", tenant_id)


def signing_key(
    connection: Connection,
    tenant_id: str,
    approver: str,
    response: str,
    relying_party: RelyingParty,
) -> Key:
    """Return the approver's confirmed key that a response names.

    Raises:
        UnauthorizedError: It names none of this approver and this console.
    """
    try:
        key = keys.find_key(connection, passkeys.credential_id_of(response))
    except RefusedProofError as exc:
        raise UnauthorizedError(str(exc), tenant_id) from exc
    if key is None or (key.tenant_id, key.approver) != (tenant_id, approver):
        raise UnauthorizedError("key_not_enrolled", tenant_id)
    check_origin(key, relying_party)
    return key


def check_origin(key: Key, relying_party: RelyingParty) -> None:
    """Raise UnauthorizedError if a key was made for another address than the console's now.

    An attacker who has the former address today could have its pages ask the person to sign.
    """
    made_for = RelyingParty(str(key.members["rp_id"]), str(key.members["origin"]))
    if made_for != relying_party:
        raise UnauthorizedError("key_of_another_origin", key.tenant_id)
