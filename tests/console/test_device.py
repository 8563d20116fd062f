"""The page of a device (contract 78)."""

import re

import pytest

from tests.console.running import TENANT, Running
from tests.console.telling import tell
from tests.polling import until
from tests.triage.stored import judged, new
from tests.vendor import AID
from vyrox.containment.contained import list_contained
from vyrox.models import Device

PATH = f"/devices/{TENANT}/1"


async def test_a_device_is_found_by_number_name_and_id_contract_78(opened: Running) -> None:
    ann = await opened.person("ann")
    await tell(opened)
    page = await ann.get(PATH)
    assert page.status_code == 200
    for each in ("<h1>ws-1</h1>", AID, "bob", f"/incidents/{TENANT}-1", "vssadmin.exe"):
        assert each in page.text
    assert "Vyrox does not contain it" in page.text
    for name in ("ws-1", "WS-1", AID, AID.upper()):
        found = await ann.get(f"/devices/{TENANT}/{name}")
        assert (found.status_code, found.headers["location"]) == (303, PATH)


@pytest.mark.parametrize(
    "path",
    [
        "acme-corp/2",
        "acme-corp/nothing",
        "acme-corp/%00",
        "initech/1",
        "x/y/z",
        "acme-corp/99999999999999999999",
        "acme-corp/" + "9" * 400,
    ],
)
async def test_a_device_that_there_is_not_is_404_contract_78(opened: Running, path: str) -> None:
    ann = await opened.person("ann")
    await tell(opened)
    await judged(opened.database, new(0.0, "id", tenant_id="initech"), tenant_id="initech")
    assert (await ann.get(f"/devices/{path}")).status_code == 404


async def test_a_name_of_several_devices_leads_to_a_choice_contract_78(opened: Running) -> None:
    ann = await opened.person("ann")
    for device in ("d1", "d2"):
        await judged(opened.database, new(0.0, "id", hostname="dup", device_id=device))
    page = await ann.get(f"/devices/{TENANT}/dup")
    assert set(re.findall(rf'href="(/devices/{TENANT}/\d)"', page.text)) == {
        f"/devices/{TENANT}/1",
        f"/devices/{TENANT}/2",
    }


async def test_its_alerts_are_paged_and_those_of_other_hosts_are_not_there_contract_78(
    opened: Running,
) -> None:
    ann = await opened.person("ann")
    own = [new(float(n // 3), f"whoami {n}") for n in range(70)]
    others = [new(5.0, "whoami", hostname="b", device_id="b") for _ in range(3)]
    await judged(opened.database, *own, *others)
    seen: list[str] = []
    path: str | None = PATH
    while path:
        page = (await ann.get(path)).text
        seen += re.findall(r'href="/alerts/([^"]+)"', page)
        older = re.search(r'rel="next" href="([^"]+)"', page)
        path = older[1].replace("&amp;", "&") if older else None
    assert len(seen) == len(set(seen))
    assert set(seen) == {each.id for each in own}
    assert (await ann.get(f"{PATH}?before=WyJ4IiwieCJd")).status_code == 404


async def test_it_says_that_it_is_contained_and_until_when_contract_78(opened: Running) -> None:
    """From the page of the device to the vendor, and what was done is on the page then."""
    opened.vendor.devices[AID] = Device(AID, "ws-1", ())
    ann, bob = await opened.person("ann"), await opened.person("bob")
    await tell(opened)
    form = re.search(
        r'action="(/incidents/[^"]+/propose)".*?value="([^"]+)"', (await ann.get(PATH)).text, re.S
    )
    assert form is not None
    sent = await ann.send(form[1], alert=form[2], action="HOST_ISOLATION")
    proposal_id = sent.headers["location"].partition("?")[0].rpartition("/")[2]
    waiting = (await ann.get(PATH)).text
    assert f'href="/approvals/{proposal_id}"' in waiting
    assert (await bob.decide(proposal_id)).json()["state"] == "approved"

    async def contained() -> bool:
        return bool(await opened.database.read(list_contained, TENANT))

    await until(contained)
    text = (await ann.get(PATH)).text
    assert "<strong>Contained by Vyrox</strong> at crowdstrike" in text
    assert "data-until" in text
    assert "Isolate a host from the network" in text.partition("<h2>Done to it</h2>")[2]
    assert "contained</span>" in (await ann.get(f"/incidents/{TENANT}-1")).text
