"""Whatever an alert holds, the whole service gives it one verdict, in counted bounds.

Contract 52 to 55. The alerts come in as webhooks; what is asserted is what the stores hold then.
"""

import itertools
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet
from sqlalchemy import Connection

from tests.ingestion import SECRET, Application, running, webhook
from tests.polling import until
from tests.service import HMAC_SECRET
from tests.triage.stored import TENANT, waiting
from tests.triage.test_views import HOSTILE
from vyrox.clock import wall_clock
from vyrox.settings import Settings
from vyrox.store import tables as t
from vyrox.triage import score
from vyrox.triage.hosts import MAX_BEARERS, MAX_NAMES
from vyrox.triage.judged import AHEAD_S
from vyrox.triage.linking import MAX_NAMED
from vyrox.triage.rows import incident_of, select_incidents
from vyrox.triage.signal import MAX_SEARCHED, Subject
from vyrox.triage.storms import STORM
from vyrox.triage.views import MAX_ATTEMPTS, MAX_CHARACTERS, MAX_DECODED, MAX_PARTS

SHADOWS: Final = "vssadmin delete shadows /all /quiet"
YEAR_2099: Final = 4_070_908_800

MAX_BODY: Final = 4 * 1024 * 1024
MAX_VERDICT: Final = 16 * 1024
MAX_STORY: Final = 64 * 1024

Detection = Mapping[str, object]

_numbers = itertools.count()


@pytest.fixture
async def application(data_dir: Path, redis_url: str) -> AsyncIterator[Application]:
    """The application with its worker, and with room for bodies of 4 MiB."""
    settings = Settings(
        hmac_secret=HMAC_SECRET,
        data_dir=data_dir,
        redis_url=redis_url,
        encryption_keys=(Fernet.generate_key().decode(),),
        default_secrets={"crowdstrike": SECRET.encode()},
        max_body_bytes=MAX_BODY,
        triage_enabled=True,
    )
    async with running(settings, redis_url) as opened:
        yield opened


def detection(
    command: str | None = "whoami",
    host: str | None = "ws-1",
    device: str | None = None,
    user: str | None = None,
    **members: object,
) -> Detection:
    return {
        "severity": "medium",
        "timestamp": wall_clock(),
        "sensor": {"hostname": host, "agent_id": device},
        "process": {"command_line": command, "user_name": user},
        **members,
    }


async def judged(application: Application, *found: Detection) -> list[sa.Row[Any]]:
    """Deliver detections one after the other; return their verdicts, once all have one."""
    ids: list[str] = []
    for each in found:
        body = {"detect_id": f"bad-{next(_numbers)}", "customer_id": TENANT, **each}
        response = await application.post(webhook("crowdstrike", json.dumps(body).encode()))
        assert response.status_code == 202, response.text
        ids.append(response.json()["alert_id"])

    async def is_done() -> bool:
        return await waiting(application.database) == 0

    await until(is_done)
    return [(await rows(application, t.verdicts, t.verdicts.c.alert_id == each))[0] for each in ids]


async def rows(
    application: Application, table: sa.Table, *conditions: sa.ColumnElement[bool]
) -> list[sa.Row[Any]]:
    query = sa.select(table).where(*conditions)
    return await application.database.read(lambda connection: list(connection.execute(query)))


async def incidents_hold_their_alerts(application: Application) -> None:
    """Every verdict is in one whole incident, which counts it."""

    def read(connection: Connection) -> None:
        whole = select_incidents().where(t.incidents.c.merged_into.is_(None))
        incidents = [incident_of(row) for row in connection.execute(whole)]
        of_verdicts = sa.select(t.verdicts.c.incident, sa.func.count()).group_by(
            t.verdicts.c.incident
        )
        counted = dict(tuple(row) for row in connection.execute(of_verdicts))
        assert {each.number: each.alerts for each in incidents} == counted
        sizes = connection.execute(sa.select(sa.func.length(t.incidents.c.story))).scalars()
        assert max(sizes) <= MAX_STORY

    await application.database.read(read)


async def test_hostile_command_lines_are_judged_in_bounds_contract_53(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    subjects: list[Subject] = []

    def subject(*args: Any) -> Subject:  # noqa: ANN401
        subjects.append(Subject(*args))
        return subjects[-1]

    monkeypatch.setattr(score, "Subject", subject)
    lines = {**HOSTILE, "long_and_bad": SHADOWS + " " * 1_000_000}
    found = await judged(application, *(detection(line) for line in lines.values()))
    assert len(await rows(application, t.verdicts)) == len(lines)
    assert len(subjects) == len(lines)
    for each in subjects:
        plain, *decoded = each.views.texts
        assert len(plain.text) <= MAX_CHARACTERS
        assert sum(len(view.text) for view in decoded) <= MAX_DECODED
        assert len(decoded) <= MAX_ATTEMPTS
        assert len(each.views.programs) <= MAX_PARTS
        assert each.work.searched <= MAX_SEARCHED
    assert max(len(row.verdict) for row in found) <= MAX_VERDICT
    assert not any(b"triage.error" in row.verdict for row in found)
    assert found[-1].band == "urgent"
    await incidents_hold_their_alerts(application)


async def test_alerts_with_nothing_in_them_are_put_before_a_person_contract_53(
    application: Application,
) -> None:
    empty = dict.fromkeys(("hostname", "agent_id"), "")
    texts = dict.fromkeys(("file_name", "command_line", "user_name", "sha256"), "")
    found = await judged(
        application,
        {},
        {"timestamp": None, "severity": None, "sensor": None, "process": None},
        {"timestamp": "", "severity": "", "tactic": "", "sensor": empty, "process": texts},
        {"sensor": {}, "process": {}},
    )
    assert [row.band for row in found] == ["review"] * 4
    # Nothing says that two of them are of one story.
    assert len({row.incident for row in found}) == 4
    assert await rows(application, t.incident_keys) == []
    await incidents_hold_their_alerts(application)


async def test_wrong_clocks_neither_join_nor_lengthen_a_story_contract_54(
    application: Application,
) -> None:
    now = wall_clock()
    first, present, last = await judged(
        application,
        detection(SHADOWS, timestamp=0),
        detection(SHADOWS),
        detection(SHADOWS, timestamp=YEAR_2099),
    )
    assert first.happened_at == 0
    assert now <= last.happened_at <= wall_clock() + AHEAD_S
    assert first.incident != present.incident == last.incident
    for each in await rows(application, t.incidents):
        assert each.last_at <= wall_clock() + AHEAD_S
        assert each.due_at is None or each.due_at <= wall_clock() + 86_400
    await incidents_hold_their_alerts(application)


async def test_addresses_and_names_shared_by_devices_are_told_apart_contract_54(
    application: Application,
) -> None:
    found = await judged(
        application,
        *(detection(SHADOWS, host) for host in ("10.0.0.5", "10.0.0.6", "fe80::5", "fe80::6")),
        detection(SHADOWS, "clone", "device-a"),
        detection(SHADOWS, "clone", "device-b"),
        detection(SHADOWS, "clone"),
        *(detection(SHADOWS, f"name-{n}", "device-c") for n in range(5)),
    )
    numbers = [row.incident for row in found]
    # Each address is a host, and each device; the name of two devices alone names neither.
    assert len(set(numbers[:7])) == 7
    assert found[6].host is None
    assert len(set(numbers[7:])) == 1
    assert len({row.host for row in found[7:]}) == 1
    await incidents_hold_their_alerts(application)


async def test_rows_of_an_alert_are_bounded_whatever_it_names_contract_55(
    application: Application,
) -> None:
    named = " ".join(f"srv-{n}" for n in range(500))
    lateral = f"wmic /node:srv-0 process call create C:\\Temp\\a.exe {named}"
    found = [
        *(detection(lateral, f"many-{n}", f"many-{n}", f"CORP\\user{n}") for n in range(20)),
        *(detection("whoami", "one-name", f"device-{n}") for n in range(MAX_BEARERS + 8)),
        *(detection("whoami", f"name-{n}", "one-device") for n in range(MAX_NAMES + 8)),
    ]
    await judged(application, *found)
    count = len(found)
    assert len(await rows(application, t.verdicts)) == count
    assert len(await rows(application, t.incidents)) <= count
    assert len(await rows(application, t.host_devices)) <= count
    assert len(await rows(application, t.host_names)) <= 20 + MAX_BEARERS + MAX_NAMES
    assert len(await rows(application, t.person_hosts)) <= 20
    # Its group, its host, its person twice, and the hosts that its command names.
    assert len(await rows(application, t.incident_keys)) <= count * (4 + MAX_NAMED)
    await incidents_hold_their_alerts(application)


@pytest.mark.parametrize(
    ("usual", "attack"),
    [
        ("backup " + "x" * 5000, "backup " + "x" * 5000 + f" & {SHADOWS}"),
        (
            f"python3 -c \"exec(bytes.fromhex('{b'print(1)'.hex()}'))\"",
            f"python3 -c \"exec(bytes.fromhex('{SHADOWS.encode().hex()}'))\"",
        ),
    ],
    ids=["beyond the shape", "in what the shape leaves out"],
)
async def test_no_attack_hides_in_a_storm_contract_55(
    application: Application, usual: str, attack: str
) -> None:
    found = await judged(application, *(detection(usual) for _ in range(STORM + 1)))
    assert {row.band for row in found} != {"urgent"}
    [last] = await judged(application, detection(attack))
    assert last.band == "urgent"
