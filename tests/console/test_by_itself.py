"""The running service proposes what an incident suggests; the console shows it (contract 69)."""

from tests.console.running import Running
from tests.polling import until
from tests.triage.stored import NOW, judged, new
from vyrox.clock import wall_clock
from vyrox.models import Device


async def test_service_proposes_by_itself_and_an_approver_decides_contract_69(
    opened: Running,
) -> None:
    ann = await opened.person("ann")
    opened.vendor.devices["device-1"] = Device("device-1", "srv-9")
    happened = wall_clock()
    shadows = new(happened - NOW, "vssadmin delete shadows /all /quiet", hostname="srv-9")
    await judged(opened.database, shadows)
    found: list[str] = []

    async def shown() -> bool:
        home = (await ann.get("/")).text
        found[:] = [
            part.split('"')[0] for part in home.split('href="/approvals/')[1:] if "srv-9" in part
        ]
        return bool(found)

    await until(shown)
    answer = await ann.decide(found[0])
    assert answer.json()["state"] == "approved"

    async def acted() -> bool:
        return bool(opened.vendor.asked)

    await until(acted)
