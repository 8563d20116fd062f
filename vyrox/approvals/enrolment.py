"""How a person becomes able to decide: one-time links and codes (contract 65, A39).

All unauthorised answers are alike, so they do not show which approvers exist.
"""

import msgspec
from sqlalchemy import Connection

from vyrox.approvals import approvers, changes, codes, keys, passkeys
from vyrox.approvals.approvers import Approver
from vyrox.approvals.ceremonies import Options, creation_options
from vyrox.approvals.codes import Code, Purpose
from vyrox.approvals.keys import Key
from vyrox.approvals.passkeys import RelyingParty
from vyrox.approvals.proofs import check_size
from vyrox.chain.verify import RefusedProofError
from vyrox.errors import NotFoundError, UnauthorizedError
from vyrox.store.locks import lock


class Enrolment(msgspec.Struct, frozen=True):
    """What a link is for.

    Attributes:
        user_id: 64 random bytes, the approver's for ever.
        enrolled: The credential ids of the approver's keys.
    """

    tenant_id: str
    approver: str
    user_id: bytes
    challenge: bytes
    enrolled: tuple[str, ...]

    def options(self, relying_party: RelyingParty) -> Options:
        """Return what `navigator.credentials.create()` takes."""
        name = f"{self.approver} ({self.tenant_id})"
        return creation_options(relying_party, self.user_id, name, self.challenge, self.enrolled)


def new_code(
    connection: Connection, tenant_id: str, approver: str, purpose: Purpose, now: float
) -> str:
    """Return a new code for an approver. It ends the earlier ones of this purpose.

    Raises:
        NotFoundError: There is no such approver.
    """
    approvers.require(connection, tenant_id, approver)
    return codes.make(connection, tenant_id, approver, purpose, now)


def open_link(connection: Connection, secret: str, now: float) -> Enrolment:
    """Return what a link is for. This does not use it up.

    Raises:
        UnauthorizedError: It is used, too old or none.
    """
    code = _require(connection, "passkey", secret, now)
    found = keys.keys_of(connection, code.tenant_id, code.approver)
    return Enrolment(
        code.tenant_id,
        code.approver,
        approvers.user_id_of(connection, code.tenant_id, code.approver),
        code.challenge,
        tuple(each.credential_id for each in found),
    )


def register(
    connection: Connection, secret: str, response: str, relying_party: RelyingParty, now: float
) -> Key:
    """Enrol a passkey, with an event, and use the link up. The key waits to be confirmed.

    Args:
        response: What `navigator.credentials.create()` returned, as JSON.

    Raises:
        UnauthorizedError: The link is used, too old or none, or the response is not valid.
        NotPossibleError: The passkey is enrolled already, or the approver has too many.
    """
    lock(connection, "containments")
    code = _require(connection, "passkey", secret, now)
    check_size(code.tenant_id, response)
    try:
        members = passkeys.enrol(response, code.challenge, code.approver, relying_party)
    except RefusedProofError as exc:
        raise UnauthorizedError(str(exc), code.tenant_id) from exc
    codes.use_up(connection, code)
    key = Key(
        credential_id=str(members["credential_id"]),
        tenant_id=code.tenant_id,
        approver=code.approver,
        members=members,
        thumbprint=keys.thumbprint_of(members),
        sign_count=0,
        vouched_by=code.vouched_by,
        added_at=now,
        confirmed_at=None,
        removed_at=None,
    )
    keys.add(connection, key)
    return key


def open_code(connection: Connection, tenant_id: str, code: str, now: float) -> Code:
    """Return what a typed code is for. This does not use it up.

    Raises:
        UnauthorizedError: The code is used, too old, none, or of another tenant.
    """
    found = _require(connection, "discord", code, now)
    if found.tenant_id != tenant_id:
        raise UnauthorizedError("code_of_another_tenant", tenant_id)
    return found


def bind_discord(
    connection: Connection, tenant_id: str, code: str, discord_user_id: str, now: float
) -> Approver:
    """Bind an account at Discord to the approver for whom the code was made, and use it up.

    Once two approvers have had a passkey, the account counts when another approver has endorsed it
    (A17). Until then the returned approver has not this account.

    Raises:
        UnauthorizedError: The code is used, too old, none, or of another tenant.
        NotPossibleError: The account is another approver's.
    """
    lock(connection, "containments")
    found = open_code(connection, tenant_id, code, now)
    approvers.check_account(connection, tenant_id, found.approver, discord_user_id)
    codes.use_up(connection, found)
    change = changes.Change(
        kind="bind_discord",
        tenant_id=tenant_id,
        approver=found.approver,
        subject=discord_user_id,
    )
    changes.ask(connection, change, found.approver, now)
    return approvers.require(connection, tenant_id, found.approver)


def confirm(
    connection: Connection, tenant_id: str, approver: str, thumbprint: str, by: str, now: float
) -> int:
    """Confirm a key whose thumbprint was compared. Return how many must still endorse it.

    Raises:
        NotFoundError: The approver has no key with this thumbprint that waits.
    """
    lock(connection, "containments")
    approvers.require(connection, tenant_id, approver)
    for key in keys.keys_of(connection, tenant_id, approver):
        if key.thumbprint == thumbprint and key.confirmed_at is None:
            change = changes.Change(
                kind="confirm_key", tenant_id=tenant_id, approver=approver, subject=thumbprint
            )
            return changes.ask(connection, change, by, now, is_vouched=_is_vouched(connection, key))
    raise NotFoundError(f"{approver} has no key with this thumbprint that waits to be confirmed")


def _is_vouched(connection: Connection, key: Key) -> bool:
    """Return whether an earlier key of the same person, which still counts, asked for this one."""
    found = None if key.vouched_by is None else keys.find_key(connection, key.vouched_by)
    return found is not None and found.approver == key.approver


def _require(connection: Connection, purpose: Purpose, text: str, now: float) -> Code:
    code = codes.find(connection, purpose, text, now)
    if code is None:
        raise UnauthorizedError("code_not_open")
    return code
