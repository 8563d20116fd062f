"""What goes wrong on purpose: where, when, how it looks, and whether the vendor has acted."""

import asyncio
from collections.abc import Callable, Coroutine

import httpx
import msgspec
import pytest

from tests.polling import until
from tests.trial.mock_edr import Caller, Falcon
from vyrox.trial.mock_edr.app import MockEdr
from vyrox.trial.mock_edr.exchange import VendorName
from vyrox.trial.mock_edr.faults import Fault, FaultKind, PlannedFault
from vyrox.trial.mock_edr.fleet import MDE_WORKSTATION_01, S1_WORKSTATION_01, WORKSTATION_01

Act = Callable[[], Coroutine[object, object, httpx.Response]]

ACTIONS: dict[VendorName, tuple[str, int]] = {
    "crowdstrike": ("device_action", 202),
    "sentinelone": ("agent_action", 200),
    "defender": ("isolate", 201),
}
"""The call that cuts a host off, and its right status."""

ANSWERED: list[FaultKind] = [
    "status",
    "bad_gateway",
    "empty",
    "truncated",
    "errors",
    "enormous",
    "redirect",
    "slow",
    "dribble",
]
BROKEN: list[FaultKind] = ["cut", "reset"]


@pytest.fixture(params=list(ACTIONS))
def vendor(request: pytest.FixtureRequest) -> VendorName:
    name: VendorName = request.param
    return name


@pytest.fixture
def act(vendor: VendorName, falcon: Falcon, sentinelone: Caller, defender: Caller) -> Act:
    """Cut the vendor's workstation-01 off."""
    if vendor == "crowdstrike":
        return lambda: falcon.act("contain", WORKSTATION_01)
    if vendor == "sentinelone":
        body = {"filter": {"ids": [S1_WORKSTATION_01]}, "data": {}}
        return lambda: sentinelone.post("/agents/actions/disconnect", body)
    isolate = {"Comment": "x", "IsolationType": "Full"}
    return lambda: defender.post(f"/api/machines/{MDE_WORKSTATION_01}/isolate", isolate)


def plan(mock: MockEdr, vendor: VendorName, fault: Fault, nth: int | None = None) -> None:
    mock.faults.plan(vendor, ACTIONS[vendor][0], fault, nth)


def errors_of(body: dict[str, object]) -> object:
    return body.get("errors") or body.get("error")


@pytest.mark.parametrize("effect", [True, False])
@pytest.mark.parametrize("kind", ANSWERED)
async def test_a_fault_says_whether_the_vendor_has_acted(
    mock: MockEdr, vendor: VendorName, act: Act, kind: FaultKind, effect: bool
) -> None:
    plan(mock, vendor, Fault(kind, effect, seconds=0, size_bytes=10_000))
    await act()

    assert [each.vendor for each in mock.effects] == ([vendor] if effect else [])


@pytest.mark.parametrize("effect", [True, False])
@pytest.mark.parametrize("kind", BROKEN)
async def test_a_broken_connection_is_one_in_process_too(
    mock: MockEdr, vendor: VendorName, act: Act, kind: FaultKind, effect: bool
) -> None:
    plan(mock, vendor, Fault(kind, effect))
    with pytest.raises(httpx.ReadError):
        await act()

    assert [each.vendor for each in mock.effects] == ([vendor] if effect else [])
    assert mock.requests[-1].fault == kind


async def test_without_an_effect_the_state_is_as_it_was(
    mock: MockEdr, vendor: VendorName, act: Act
) -> None:
    before = msgspec.json.encode(mock.states[vendor])
    plan(mock, vendor, Fault("slow", effect=False, seconds=0))
    answer = await act()

    assert answer.status_code == ACTIONS[vendor][1]
    assert msgspec.json.encode(mock.states[vendor]) == before


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 429, 500, 503])
async def test_a_status_comes_in_the_vendors_form(
    mock: MockEdr, vendor: VendorName, act: Act, status: int
) -> None:
    plan(mock, vendor, Fault("status", effect=False, status=status))
    answer = await act()

    assert answer.status_code == mock.requests[-1].status == status
    assert answer.headers["content-type"] == "application/json"
    assert errors_of(answer.json())


@pytest.mark.parametrize(
    ("unit", "value"), [("s", "1767225630"), ("ms", "1767225630000")], ids=["s", "ms"]
)
async def test_crowdstrikes_429_names_a_time(
    mock: MockEdr, falcon: Falcon, unit: str, value: str
) -> None:
    fault = msgspec.convert(
        {
            "kind": "status",
            "effect": False,
            "status": 429,
            "retry_after_s": 30,
            "retry_after_unit": unit,
        },
        Fault,
    )
    plan(mock, "crowdstrike", fault)
    answer = await falcon.act("contain", WORKSTATION_01)

    assert answer.headers["x-ratelimit-retryafter"] == value
    assert answer.headers["x-ratelimit-remaining"] == "0"
    assert "retry-after" not in answer.headers


@pytest.mark.parametrize(
    ("vendor", "value"),
    [pytest.param("sentinelone", None), pytest.param("defender", "30")],
    indirect=["vendor"],
)
async def test_the_others_429_says_how_long_to_wait_or_nothing(
    mock: MockEdr, vendor: VendorName, act: Act, value: str | None
) -> None:
    plan(mock, vendor, Fault("status", effect=False, status=429, retry_after_s=29.5))
    answer = await act()

    assert answer.headers.get("retry-after") == value
    assert "x-ratelimit-retryafter" not in answer.headers


async def test_bad_gateway_is_html(mock: MockEdr, vendor: VendorName, act: Act) -> None:
    plan(mock, vendor, Fault("bad_gateway", effect=True))
    answer = await act()

    assert (answer.status_code, answer.headers["content-type"]) == (502, "text/html")
    assert answer.text.startswith("<html>")


async def test_empty_has_the_right_status(mock: MockEdr, vendor: VendorName, act: Act) -> None:
    plan(mock, vendor, Fault("empty", effect=True))
    answer = await act()

    assert (answer.status_code, answer.content) == (ACTIONS[vendor][1], b"")


async def test_truncated_is_no_json(mock: MockEdr, vendor: VendorName, act: Act) -> None:
    plan(mock, vendor, Fault("truncated", effect=True))
    answer = await act()

    assert answer.status_code == ACTIONS[vendor][1]
    assert answer.content.startswith(b"{")
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        answer.json()


async def test_errors_come_with_the_right_status(
    mock: MockEdr, vendor: VendorName, act: Act
) -> None:
    plan(mock, vendor, Fault("errors", effect=False))
    answer = await act()

    assert answer.status_code == ACTIONS[vendor][1]
    assert errors_of(answer.json())


async def test_crowdstrikes_errors_come_without_resources(mock: MockEdr, falcon: Falcon) -> None:
    plan(mock, "crowdstrike", Fault("errors", effect=False))
    answer = await falcon.act("contain", WORKSTATION_01)

    assert answer.json()["resources"] == []


async def test_enormous_is_right_and_long(mock: MockEdr, vendor: VendorName, act: Act) -> None:
    plan(mock, vendor, Fault("enormous", effect=True, size_bytes=3_000_000))
    answer = await act()

    assert len(answer.content) == 3_000_000
    assert not errors_of(answer.json())


async def test_redirect_leads_to_where_followers_are_seen(
    mock: MockEdr, vendor: VendorName, act: Act, http: httpx.AsyncClient
) -> None:
    plan(mock, vendor, Fault("redirect", effect=False))
    answer = await act()

    assert (answer.status_code, answer.headers["location"]) == (307, "/elsewhere")
    assert mock.violations == []
    assert (await http.post("/elsewhere")).status_code == 404
    assert mock.violations == ["POST /elsewhere: followed a redirect"]


async def test_slow_acts_first_and_answers_later(
    mock: MockEdr, vendor: VendorName, act: Act
) -> None:
    plan(mock, vendor, Fault("slow", effect=True, seconds=3600))
    waiting = asyncio.create_task(act())

    async def has_acted() -> bool:
        return mock.effects != []

    await until(has_acted)
    assert not waiting.done()
    assert mock.requests[-1].status is None
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_dribble_is_right_in_the_end(mock: MockEdr, vendor: VendorName, act: Act) -> None:
    plan(mock, vendor, Fault("dribble", effect=True, seconds=0))
    answer = await act()

    assert answer.status_code == ACTIONS[vendor][1]
    assert not errors_of(answer.json())


@pytest.mark.parametrize(
    ("nth", "statuses"),
    [
        pytest.param(1, [500, 202, 202], id="first"),
        pytest.param(2, [202, 500, 202], id="second"),
        pytest.param(None, [500, 500, 500], id="every"),
    ],
)
async def test_a_fault_strikes_the_call_it_is_planned_for(
    mock: MockEdr, falcon: Falcon, nth: int | None, statuses: list[int]
) -> None:
    await falcon.act("contain", WORKSTATION_01)
    plan(mock, "crowdstrike", Fault("status", effect=False), nth)
    # Other calls do not count.
    await falcon.status(WORKSTATION_01)
    answers = [await falcon.act("contain", WORKSTATION_01) for _ in range(3)]

    assert [answer.status_code for answer in answers] == statuses


def test_a_fault_of_any_endpoint_counts_them_together() -> None:
    faults = MockEdr().faults
    fault = Fault("reset", effect=False)
    faults.plan("defender", "*", fault, 2)
    struck = [
        faults.take("defender", "token"),
        faults.take("sentinelone", "health"),
        faults.take("defender", "isolate"),
        faults.take("defender", "isolate"),
    ]

    assert struck == [None, None, fault, None]


def test_of_two_faults_for_one_call_the_older_strikes_and_both_are_used_up() -> None:
    faults = MockEdr().faults
    older, newer = Fault("reset", effect=False), Fault("empty", effect=False)
    faults.plan("defender", "isolate", older, 1)
    faults.plan("defender", "isolate", newer, 1)

    assert faults.take("defender", "isolate") == older
    assert faults.planned == ()


def test_a_fault_has_no_effect_unless_it_says_so() -> None:
    assert Fault("reset") == Fault("reset", effect=False)


def test_clear_leaves_no_fault() -> None:
    faults = MockEdr().faults
    faults.plan("defender", "isolate", Fault("reset", effect=False))
    assert faults.planned == (PlannedFault("defender", "isolate", Fault("reset", effect=False)),)
    faults.clear()

    assert faults.take("defender", "isolate") is None


def test_a_fault_of_no_endpoint_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ValueError, match="defender has no endpoint 'contain'; it has action_list"):
        MockEdr().faults.plan("defender", "contain", Fault("reset", effect=False))
