"""Following new alerts (contract 50)."""

from tests.sample_alerts import NOW, new_delivery, store_all
from vyrox.alerts.finding import AlertFilter
from vyrox.alerts.watching import Watch, at_least
from vyrox.store.database import Database


async def test_watch_yields_late_commits_and_each_alert_once_contract_50(
    database: Database,
) -> None:
    now = NOW
    number = 0

    async def arrive(received_at: float) -> str:
        nonlocal number
        number += 1
        new = new_delivery(str(number).encode(), received_at=received_at)
        await store_all(database, new)
        return new.alert_id

    watch = Watch(database, lambda: now, AlertFilter(severities=at_least("info")))

    async def seen() -> list[str]:
        return [each.id async for each in watch.new_alerts()]

    await arrive(NOW - 100)
    await arrive(NOW - 1)
    await watch.start()
    assert await seen() == []
    late = await arrive(NOW - 20)  # received before the start, committed after it
    assert await seen() == [late]
    first = await arrive(NOW + 50)
    now = NOW + 51
    assert await seen() == [first]
    late = await arrive(NOW + 25)  # committed after an alert that was received later
    ahead = await arrive(NOW + 9000)  # of a container whose clock is wrong
    assert await seen() == [late, ahead]
    now = NOW + 200
    after = await arrive(NOW + 199)  # is not hidden by it
    assert await seen() == [after]
    assert await seen() == []


def test_unknown_severity_is_not_the_last_contract_50() -> None:
    assert at_least("medium") == ("critical", "high", "medium")
    assert "unknown" in at_least("low")
    assert len(at_least("info")) == 6
