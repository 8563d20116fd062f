"""The per-tenant limit on `/execute` (EXECUTE_RATE_PER_MINUTE)."""

from hypothesis import given
from hypothesis import strategies as st

from vyrox.containment.rate_limit import RateLimit
from vyrox.errors import RateLimitedError

NOW = 1_704_067_200.25


def wait_s(limit: RateLimit, tenant_id: str, now: float) -> int:
    """Return 0 if the request is allowed, else the Retry-After of its response."""
    try:
        limit.check(tenant_id, now)
    except RateLimitedError as exc:
        return int(exc.headers["retry-after"])
    return 0


def test_check_of_zero_is_no_limit() -> None:
    limit = RateLimit(0)
    assert {wait_s(limit, "acme", NOW) for _ in range(10_000)} == {0}


def test_check_allows_a_burst_and_then_returns_the_time_to_wait() -> None:
    limit = RateLimit(3)
    assert [wait_s(limit, "acme", NOW) for _ in range(5)] == [0, 0, 0, 60, 60]
    assert wait_s(limit, "acme", NOW + 59.999) == 1
    assert [wait_s(limit, "acme", NOW + 60) for _ in range(4)] == [0, 0, 0, 60]


def test_check_counts_each_tenant_alone() -> None:
    limit = RateLimit(1)
    assert [wait_s(limit, tenant_id, NOW) for tenant_id in ("a", "b", "a", "b")] == [0, 0, 60, 60]


def test_check_does_not_count_what_it_refuses() -> None:
    limit = RateLimit(1)
    answers = [wait_s(limit, "acme", NOW + second) for second in range(0, 130, 10)]
    assert answers == [0, 50, 40, 30, 20, 10, 0, 50, 40, 30, 20, 10, 0]


def test_check_clock_set_back_refuses_no_tenant() -> None:
    limit = RateLimit(2)
    assert [wait_s(limit, "acme", NOW) for _ in range(3)] == [0, 0, 60]
    assert [wait_s(limit, "acme", NOW - 3600) for _ in range(3)] == [0, 0, 60]


@given(
    per_minute=st.integers(1, 5),
    pauses_ms=st.lists(st.one_of(st.integers(0, 50), st.integers(0, 70_000)), max_size=40),
)
def test_check_allows_the_limit_in_any_60_s_and_no_more(
    per_minute: int, pauses_ms: list[int]
) -> None:
    limit = RateLimit(per_minute)
    now_ms = 1_704_067_200_000
    allowed_ms: list[int] = []
    for pause_ms in pauses_ms:
        now_ms += pause_ms
        in_window = [at_ms for at_ms in allowed_ms if at_ms > now_ms - 60_000]
        wait = wait_s(limit, "acme", now_ms / 1000)
        assert (wait == 0) == (len(in_window) < per_minute)
        if wait == 0:
            allowed_ms.append(now_ms)
        else:
            # Long enough, and at most a second too long.
            free_at_ms = in_window[0] + 60_000
            assert 0 <= now_ms + wait * 1000 - free_at_ms < 1000


@given(
    per_minute=st.integers(1, 5),
    pauses_s=st.lists(st.floats(0, 30), min_size=1, max_size=30),
)
def test_check_after_the_stated_wait_lets_the_next_through(
    per_minute: int, pauses_s: list[float]
) -> None:
    limit = RateLimit(per_minute)
    now = NOW
    for pause_s in pauses_s:
        now += pause_s
        if wait := wait_s(limit, "acme", now):
            assert wait_s(limit, "acme", now + wait + 0.001) == 0
            now += wait + 0.001
