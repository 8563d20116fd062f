"""From a name on the list to a key that decides, and back (contract 65; A5, A20 to A26, A39)."""

import hashlib

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from tests import audit
from tests.approvals.authenticator import AT, UP, Authenticator, b64
from tests.approvals.decided import KILL, WANTED, account_of, prepared, proposed, say
from tests.approvals.enrolled import PARTY, confirm, enrol, register, sign
from tests.audit import NOW, TENANT
from vyrox.approvals import approvers, codes, deciding, enrolment, keys, rows
from vyrox.approvals.approver_commands import Codes
from vyrox.approvals.passkeys import RelyingParty
from vyrox.approvals.proposing import Wanted
from vyrox.errors import InvalidRequestError, NotFoundError, NotPossibleError, UnauthorizedError
from vyrox.store.database import Database
from vyrox.store.tables import approver_codes

ACCOUNT = "80351110224678912"


@pytest.fixture
async def opened(database: Database) -> Database:
    await prepared(database, ())
    await database.write(approvers.add, TENANT, "ann", "operator", NOW)
    return database


async def new_link(database: Database, now: float = NOW) -> str:
    return await database.write(enrolment.new_code, TENANT, "ann", "passkey", now)


async def kinds(database: Database, prefix: str = "approver.") -> list[object]:
    found = await audit.events(database)
    return [each["kind"] for each in found if str(each["kind"]).startswith(prefix)]


def dump(connection: Connection) -> str:
    return repr(connection.execute(sa.select(approver_codes)).all())


async def test_a_link_is_used_once_and_only_its_hash_is_kept_contract_65(opened: Database) -> None:
    """A39: opening the page uses nothing up. The challenge stays the same."""
    secret = await new_link(opened)
    assert len(secret) == 43
    stored = await opened.read(dump)
    assert secret not in stored
    assert hashlib.sha256(b"vyrox-code-v1\npasskey\n" + secret.encode()).hexdigest() in stored
    first = await opened.read(enrolment.open_link, secret, NOW)
    assert await opened.read(enrolment.open_link, secret, NOW + 3599) == first
    response = Authenticator("ES256").create(first.challenge)
    key = await opened.write(enrolment.register, secret, response, PARTY, NOW)
    assert (key.tenant_id, key.approver, key.confirmed_at) == (TENANT, "ann", None)
    [event] = await audit.events(opened, kind="approver.key_added")
    assert {name: event[name] for name in key.members} == key.members
    with pytest.raises(UnauthorizedError):
        await opened.read(enrolment.open_link, secret, NOW)
    again = Authenticator("ES256", b"another").create(first.challenge)
    with pytest.raises(UnauthorizedError):
        await opened.write(enrolment.register, secret, again, PARTY, NOW)


@pytest.mark.parametrize("why", ["wrong", "too_old", "superseded", "removed"])
async def test_a_link_that_does_not_hold_opens_nothing_contract_65(
    opened: Database, why: str
) -> None:
    """One error for all, so nothing shows which approvers exist."""
    secret, now = await new_link(opened), NOW
    match why:
        case "wrong":
            secret = "A" * 43
        case "too_old":
            now += codes.CODE_S
        case "superseded":
            await new_link(opened)
        case _:
            await opened.write(approvers.remove, TENANT, "ann", "operator", NOW)
    with pytest.raises(UnauthorizedError) as caught:
        await opened.read(enrolment.open_link, secret, now)
    assert (caught.value.kind, caught.value.tenant_id) == ("code_not_open", None)


async def test_the_browser_is_asked_for_a_verified_key_contract_65(opened: Database) -> None:
    """A24 to A26: also no key twice, and 64 random bytes for the person, always the same."""
    key = await enrol(opened, "ann", Authenticator("ES256", b"one"))
    enrolled = await opened.read(enrolment.open_link, await new_link(opened), NOW)
    options = enrolled.options(PARTY)
    assert options == {
        "rp": {"id": "localhost", "name": "Vyrox"},
        "user": {
            "id": b64(enrolled.user_id),
            "name": "ann (acme-corp)",
            "displayName": "ann (acme-corp)",
        },
        "challenge": b64(enrolled.challenge),
        "pubKeyCredParams": [{"type": "public-key", "alg": alg} for alg in (-7, -8, -257)],
        "timeout": 300_000,
        "excludeCredentials": [{"type": "public-key", "id": key.credential_id}],
        "authenticatorSelection": {
            "residentKey": "required",
            "requireResidentKey": True,
            "userVerification": "required",
        },
        "attestation": "none",
    }
    assert (len(enrolled.user_id), len(enrolled.challenge)) == (64, 32)
    other = await opened.read(enrolment.open_link, await new_link(opened), NOW)
    assert other.user_id == enrolled.user_id
    assert other.challenge != enrolled.challenge


@pytest.mark.parametrize("why", ["not_verified", "challenge", "origin", "not_json", "too_long"])
async def test_a_response_that_is_refused_leaves_the_link_open_contract_65(
    opened: Database, why: str
) -> None:
    secret = await new_link(opened)
    passkey = Authenticator("ES256")
    enrolled = await opened.read(enrolment.open_link, secret, NOW)
    wrong = {
        "not_verified": passkey.create(enrolled.challenge, flags=UP | AT),
        "challenge": passkey.create(bytes(32)),
        "origin": passkey.create(enrolled.challenge, origin="http://localhost:9"),
        "not_json": "{",
        "too_long": passkey.create(enrolled.challenge) + " " * 20_000,
    }
    with pytest.raises(UnauthorizedError):
        await opened.write(enrolment.register, secret, wrong[why], PARTY, NOW)
    assert await kinds(opened) == ["approver.added"]
    right = passkey.create(enrolled.challenge)
    await opened.write(enrolment.register, secret, right, PARTY, NOW)


async def test_a_key_is_enrolled_once_contract_65(
    opened: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys are of persons: one key of two persons would be one person twice."""
    passkey = Authenticator("ES256", b"one")
    await register(opened, "ann", passkey)
    await opened.write(approvers.add, TENANT, "bob", "operator", NOW)
    with pytest.raises(NotPossibleError, match="enrolled already"):
        await register(opened, "bob", passkey)
    passkey.credential_id = b"another"
    with pytest.raises(NotPossibleError, match="enrolled already"):
        await register(opened, "bob", passkey)
    with pytest.raises(NotPossibleError, match="enrolled already"):
        await register(opened, "bob", Authenticator("EdDSA", b"one"))
    monkeypatch.setattr(keys, "MAX_KEYS", 1)
    with pytest.raises(NotPossibleError, match="which is the most"):
        await register(opened, "ann", Authenticator("EdDSA", b"two"))


async def test_a_key_decides_nothing_before_it_is_confirmed_contract_65(opened: Database) -> None:
    """A39: the thumbprint is the one of RFC 7638, and only its own person's."""
    passkey = Authenticator("ES256", b"one")
    key = await register(opened, "ann", passkey)
    x, y = b64(passkey.cose[-2]), b64(passkey.cose[-3])
    jwk = f'{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}'
    assert key.thumbprint == b64(hashlib.sha256(jwk.encode()).digest())
    proposal = await proposed(opened, KILL)
    with pytest.raises(NotPossibleError, match="no confirmed passkey"):
        await sign(opened, proposal, "ann", passkey)
    assert await opened.read(keys.find_key, key.credential_id) is None
    await opened.write(approvers.add, TENANT, "bob", "operator", NOW)
    with pytest.raises(NotFoundError):
        await opened.write(enrolment.confirm, TENANT, "bob", key.thumbprint, "operator", NOW)
    assert await confirm(opened, key) == 0
    [event] = await audit.events(opened, kind="approver.key_confirmed")
    assert (event["approver"], event["thumbprint"], event["by"]) == (
        "ann",
        key.thumbprint,
        "operator",
    )
    proof = await sign(opened, proposal, "ann", passkey)
    decided = await opened.write(deciding.decide, TENANT, proposal.proposal_id, proof, NOW)
    assert decided.stored_state == "approved"
    with pytest.raises(NotFoundError):
        await confirm(opened, key)


async def test_a_second_key_is_the_same_person_contract_65(opened: Database) -> None:
    """A7: persons count, not keys."""
    passkeys = [Authenticator("ES256", b"one"), Authenticator("EdDSA", b"two")]
    for each in passkeys:
        await enrol(opened, "ann", each)
    proposal = await proposed(opened, WANTED)
    first, second = [await sign(opened, proposal, "ann", each) for each in passkeys]
    await opened.write(deciding.decide, TENANT, proposal.proposal_id, first, NOW)
    with pytest.raises(NotPossibleError, match="ann has decided already"):
        await opened.write(deciding.decide, TENANT, proposal.proposal_id, second, NOW)


async def test_a_typed_code_binds_an_account_contract_65(opened: Database) -> None:
    """It has 80 bits. People type small letters, and leave hyphens out."""
    code = await opened.write(enrolment.new_code, TENANT, "ann", "discord", NOW)
    assert [len(part) for part in code.split("-")] == [4, 4, 4, 4]
    with pytest.raises(UnauthorizedError):
        await opened.write(enrolment.bind_discord, "initech", code, ACCOUNT, NOW)
    with pytest.raises(UnauthorizedError):
        await opened.write(enrolment.bind_discord, TENANT, code, ACCOUNT, NOW + codes.CODE_S)
    with pytest.raises(UnauthorizedError):  # a link's secret is no code, and the reverse
        await opened.read(enrolment.open_link, code, NOW)
    with pytest.raises(InvalidRequestError):
        await opened.write(enrolment.bind_discord, TENANT, code, "omar", NOW)
    typed = code.replace("-", " ").lower()
    bound = await opened.write(enrolment.bind_discord, TENANT, typed, ACCOUNT, NOW)
    assert (bound.name, bound.discord_user_id) == ("ann", ACCOUNT)
    [event] = await audit.events(opened, kind="approver.discord_bound")
    assert (event["approver"], event["discord_user_id"]) == ("ann", ACCOUNT)
    with pytest.raises(UnauthorizedError):
        await opened.write(enrolment.bind_discord, TENANT, code, ACCOUNT, NOW)


async def test_an_account_is_of_one_person_contract_65(opened: Database) -> None:
    await opened.write(approvers.add, TENANT, "bob", "operator", NOW, ACCOUNT)
    code = await opened.write(enrolment.new_code, TENANT, "ann", "discord", NOW)
    with pytest.raises(NotPossibleError, match="another approver"):
        await opened.write(enrolment.bind_discord, TENANT, code, ACCOUNT, NOW)
    with pytest.raises(NotFoundError):
        await opened.write(enrolment.new_code, TENANT, "cyd", "discord", NOW)


async def test_a_reset_takes_everything_away_at_once_contract_65(database: Database) -> None:
    """A11 and A39: also what the lost key has approved."""
    await prepared(database)
    proposal = await proposed(database, WANTED)
    await say(database, proposal, "ann")
    link = await database.write(enrolment.new_code, TENANT, "ann", "passkey", NOW)
    await database.write(approvers.reset, TENANT, "ann", "operator", NOW)
    assert (await kinds(database))[-2:] == ["approver.reset", "approver.key_removed"]
    with pytest.raises(UnauthorizedError):
        await database.read(enrolment.open_link, link, NOW)
    assert await database.read(keys.keys_of, TENANT, "ann") == []
    assert (await database.read(approvers.require, TENANT, "ann")).discord_user_id is None
    # Ann has approved with the lost key, so Bob's approval is the first that counts.
    assert (await say(database, proposal, "bob")).stored_state == "pending"
    assert (await say(database, proposal, "cyd")).stored_state == "approved"
    for kind in ("webauthn", "discord"):
        other = await proposed(database, KILL)
        with pytest.raises(UnauthorizedError):
            await say(database, other, "ann", kind=kind)


async def test_an_approval_before_a_reset_never_counts_again_contract_65(
    database: Database,
) -> None:
    """A39: not even when the person has the same account at Discord again."""
    await prepared(database)
    proposal = await proposed(database, WANTED)
    await say(database, proposal, "ann", kind="discord")
    account = account_of("ann")
    await database.write(approvers.reset, TENANT, "ann", "operator", NOW)
    await database.write(approvers.bind_account, TENANT, "ann", account, "ann", NOW)
    assert (await say(database, proposal, "bob")).stored_state == "pending"
    assert (await say(database, proposal, "cyd")).stored_state == "approved"


async def test_for_a_day_after_a_reset_a_person_is_not_one_of_two_contract_65(
    database: Database,
) -> None:
    """A39. The person may reject, and approve what one person can."""
    await prepared(database)
    await database.write(approvers.reset, TENANT, "ann", "operator", NOW)
    passkey = Authenticator("ES256", b"new")
    key = await register(database, "ann", passkey)
    await database.write(keys.confirm, key, "operator", NOW)
    later = NOW + approvers.RESET_S

    async def approve(wanted: Wanted, now: float) -> rows.StoredProposal:
        proposal = await proposed(database, wanted, now)
        proof = await sign(database, proposal, "ann", passkey, now=now)
        return await database.write(deciding.decide, TENANT, proposal.proposal_id, proof, now)

    assert (await approve(KILL, NOW)).stored_state == "approved"
    with pytest.raises(NotPossibleError, match="reset within a day"):
        await approve(WANTED, later - 1000)
    refused = await proposed(database, WANTED, later - 1000)
    proof = await sign(database, refused, "ann", passkey, "reject", "no", later - 1000)
    ended = await database.write(deciding.decide, TENANT, refused.proposal_id, proof, later - 1000)
    assert ended.stored_state == "rejected"
    assert (await approve(WANTED, later)).stored_state == "pending"


async def test_who_is_removed_decides_nothing_more_contract_65(database: Database) -> None:
    await prepared(database, ("ann",))
    code = await database.write(enrolment.new_code, TENANT, "ann", "discord", NOW)
    await database.write(approvers.remove, TENANT, "ann", "operator", NOW)
    assert await database.read(approvers.standing, TENANT) == {}
    with pytest.raises(UnauthorizedError):
        await database.write(enrolment.bind_discord, TENANT, code, account_of("ann"), NOW)
    proposal = await proposed(database, KILL)
    with pytest.raises(UnauthorizedError):
        await say(database, proposal, "ann")


async def test_a_key_of_a_former_origin_decides_nothing_contract_65(opened: Database) -> None:
    """A23: another origin of the console leaves its keys behind."""
    passkey = Authenticator("ES256", b"one")
    await enrol(opened, "ann", passkey)
    proposal = await proposed(opened, KILL)
    proof = await sign(opened, proposal, "ann", passkey)
    proof._relying_party = RelyingParty("localhost", "http://localhost:9000")
    with pytest.raises(UnauthorizedError) as caught:
        await opened.write(deciding.decide, TENANT, proposal.proposal_id, proof, NOW)
    assert caught.value.kind == "key_of_another_origin"


def test_codes_are_in_no_repr_contract_65() -> None:
    assert "secret" not in repr(Codes("secret", "secret"))
