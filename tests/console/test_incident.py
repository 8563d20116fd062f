"""The page of an incident (contract 78)."""

import re

import pytest

from tests.console.running import TENANT, Running
from tests.console.telling import HOSTILE, SCRIPT, tell
from tests.triage.stored import NOW, judged, new
from tests.vendor import AID, COMPOSITE_ID
from vyrox.alerts.verdict import Decision
from vyrox.clock import wall_clock
from vyrox.console.marking import MAX_SHOWN, forms_of, marked
from vyrox.console.wording import incident_title
from vyrox.triage import life
from vyrox.triage.decisions import decide_alerts
from vyrox.triage.incident_ids import IncidentKey
from vyrox.triage.life import Actor
from vyrox.triage.score import judge
from vyrox.triage.techniques import technique_name

KEY = IncidentKey(TENANT, 1)
PATH = f"/incidents/{KEY.id}"


async def test_the_page_says_what_happened_why_and_what_can_be_done_contract_78(
    opened: Running,
) -> None:
    ann = await opened.person("ann")
    await tell(opened)
    response = await ann.get(PATH)
    assert response.status_code == 200
    text = response.text
    assert "<h1>Passwords or keys were read and backups were attacked on ws-1</h1>" in text
    # In order, in words, with what the technique is called.
    steps = [text.index(each) for each in ("powershell.exe", "rundll32.exe", "vssadmin.exe")]
    assert steps == sorted(steps)
    assert "it destroys backups, or what a restore needs" in text
    assert "T1003.001 OS Credential Dumping: LSASS Memory" in text
    # What matched is marked, in the command line and in what was encoded in it.
    assert "<mark>comsvcs.dll, MiniDump</mark>" in text
    assert "What was encoded in it" in text
    assert re.search(r"<mark>iex \(new-object net\.webclient\)", text)
    assert SCRIPT.partition("'")[0] in text
    for button in ("Propose this", "I am on it", "Close the incident", "Record it"):
        assert button in text
    assert 'role="img"' in text
    assert f'href="/devices/{TENANT}/1"' in text


async def test_a_merged_incident_leads_to_the_one_that_has_its_alerts_contract_78(
    opened: Running,
) -> None:
    from vyrox.triage.regrouping import merge

    ann = await opened.person("ann")
    await tell(opened)
    await judged(opened.database, new(0.0, "whoami", hostname="other", device_id="other"))
    actor = Actor("ann", wall_clock())
    await opened.database.write(merge, KEY, IncidentKey(TENANT, 2), actor)
    response = await ann.get(f"/incidents/{TENANT}-2")
    assert (response.status_code, response.headers["location"]) == (303, PATH)


async def test_the_page_shows_steps_decisions_and_the_like_contract_78(opened: Running) -> None:
    ann = await opened.person("ann")
    found = await tell(opened)
    await opened.database.write(
        life.comment, KEY, Actor("bob", NOW + 200), "the <b>owner</b> knows"
    )
    same = new(90_000.0, "vssadmin delete shadows /all /quiet", hostname="ws-7", device_id="d7")
    await judged(opened.database, same)
    said = Decision(TENANT, (same.id,), "benign", "cyd", "a test of restore")
    await opened.database.write(decide_alerts, said, wall_clock())
    response = await ann.send(f"{PATH}/propose", action="suggested")
    proposed = response.headers["location"].partition("?")[0]
    await ann.decide(proposed.rpartition("/")[2], "reject", comment="not now")
    text = (await ann.get(PATH)).text
    assert "the &lt;b&gt;owner&lt;/b&gt; knows" in text
    assert f'<a href="{proposed}">proposed to isolate' in text
    assert f'<a href="{proposed}">rejected to isolate' in text
    assert "not now" in text
    assert "cyd: <strong>harmless</strong>, the same command on" in text
    assert found[2].id in text


@pytest.mark.parametrize(
    "path", ["", "/alerts", "/benign?alert=x", "/nothing", "x", "/../acme-corp-0"]
)
async def test_another_tenants_incident_is_one_that_does_not_exist_contract_78(
    opened: Running, path: str
) -> None:
    ann = await opened.person("ann")
    other = new(0.0, "mimikatz", tenant_id="initech")
    await judged(opened.database, other, tenant_id="initech")
    assert (await ann.get(f"/incidents/initech-1{path}")).status_code == 404
    for step in ("close", "comment", "propose", "suppress", "acknowledge"):
        sent = await ann.send(f"/incidents/initech-1/{step}", note="x", alert=other.id)
        assert sent.status_code == 404


async def test_what_an_attacker_wrote_stays_text_contract_78(opened: Running) -> None:
    ann = await opened.person("ann")
    members = {"hostname": HOSTILE, "username": HOSTILE, "process_name": HOSTILE}
    evil = new(0.0, f"mimikatz {HOSTILE}", technique=HOSTILE, device_id=HOSTILE, **members)
    await judged(opened.database, evil)
    paths = ("", "/alerts", f"/benign?alert={evil.id}")
    texts = [(await ann.get(f"{PATH}{path}")).text for path in paths]
    texts += [(await ann.get("/incidents")).text]
    texts += [(await ann.get(f"/devices/{TENANT}/1")).text]
    for text in texts:
        assert "script&gt;alert(1)" in text
        assert "<script>alert" not in text
        assert "<b>" not in text
        assert not {"\u202e", "\x1b"} & set(text)


async def test_an_incident_of_many_alerts_is_read_in_part_contract_78(opened: Running) -> None:
    ann = await opened.person("ann")
    numbered = [new(float(n), f"whoami x{n}", severity="high") for n in range(60)]
    await judged(opened.database, *numbered)
    text = (await ann.get(PATH)).text
    assert "All 60 alerts of this incident" in text
    seen: list[str] = []
    path: str | None = f"{PATH}/alerts"
    while path:
        page = (await ann.get(path)).text
        here = re.findall(r'href="/alerts/([^"]+)"', page)
        seen += here
        # Else 50 alerts are a page of 15,000 pixels on a phone.
        unfolded = re.findall(r'href="/alerts/([^"]+)"', page.partition("<details><summary>")[0])
        assert len(unfolded) == min(15, len(here))
        assert (f"{len(here) - 15} more alerts" in page) == (len(here) > 20)
        older = re.search(r'rel="next" href="([^"]+)"', page)
        path = older[1].replace("&amp;", "&") if older else None
    assert seen == [each.id for each in reversed(numbered)]


async def test_the_page_is_sent_again_only_if_it_has_changed_contract_78(opened: Running) -> None:
    ann = await opened.person("ann")
    await tell(opened)
    version = (await ann.get(PATH)).text.partition('data-version="')[2].partition('"')[0]
    quoted = f'"{version}"'
    assert (await ann.get(PATH, **{"if-none-match": quoted})).status_code == 304
    await opened.database.write(life.comment, KEY, Actor("bob", NOW + 200), "seen")
    assert (await ann.get(PATH, **{"if-none-match": quoted})).status_code == 200


async def test_the_decide_page_has_the_same_evidence_contract_78(opened: Running) -> None:
    ann = await opened.person("ann")
    await tell(opened)
    path = (await ann.send(f"{PATH}/propose", action="suggested")).headers["location"]
    text = (await ann.get(path)).text
    assert "You decide on exactly this" in text
    assert f'href="{PATH}"' in text
    assert f'href="/devices/{TENANT}/1"' in text
    assert "<mark>" in text
    assert "Vyrox lifts it by itself" in text


async def test_why_it_is_proposed_stands_before_the_buttons_contract_78(opened: Running) -> None:
    """Also on Now; and what waits is the first that the incident's page says can be done."""
    ann = await opened.person("ann")
    await tell(opened)
    path = (await ann.send(f"{PATH}/propose", action="suggested")).headers["location"]
    decide, _, rest = (await ann.get(path)).text.partition("You decide on exactly this")
    [title] = re.findall(rf'<a href="{PATH}">([^<]+)</a>', decide)
    assert "Approve" in rest
    assert (await ann.get("/")).text.partition("Open incidents")[0].count(title) == 1
    todo = (await ann.get(PATH)).text.partition('<h2 id="do">')[2]
    assert todo.index("Decide: ") < todo.index("I am on it")
    proposal_id = path.partition("?")[0].rpartition("/")[2]
    await ann.decide(proposal_id, "reject")
    ended = (await ann.get(path)).text
    assert "Vyrox lifts it" not in ended  # it has not begun, and never will
    assert "Decide: " not in (await ann.get(PATH)).text


@pytest.mark.parametrize("text", ["", "a", "\u0130\u0130 MiMiKaTz \u0130", "x" * 5000, "\0\ud800"])
def test_pieces_joined_are_the_text_contract_78(text: str) -> None:
    pieces = marked(text, ["mimikatz", "x", ""])
    assert "".join(each.text for each in pieces) == text
    assert all(each.text for each in pieces)


def test_a_trick_of_quoting_is_undone_and_a_long_line_is_cut_contract_78() -> None:
    line = f"vss^admin del^ete shadows /all {'x' * 5000}"
    sent, plain = forms_of(line, judge(new(0.0, line)).reasons)
    assert (sent.kind, plain.kind) == ("sent", "plain")
    assert "vssadmin delete shadows" in [each.text for each in plain.pieces if each.is_marked]
    assert sent.is_cut
    assert sum(len(each.text) for each in sent.pieces) == MAX_SHOWN


def test_titles_and_techniques_are_words_contract_78() -> None:
    assert incident_title(("vendor", "impact"), ()) == "Data or hosts were damaged"
    assert (
        incident_title(("vendor",), ("a", "b", "c"))
        == "The vendor calls it serious on a and 2 more"
    )
    assert technique_name("T1059") == "Command and Scripting Interpreter"
    for unknown in ("T9999", "t1059", "T1059.001.1", "<b>", None):
        assert technique_name(unknown) is None


def test_every_technique_of_a_signal_has_its_name_contract_78() -> None:
    from vyrox.triage.rules import SIGNALS

    assert [
        each.name for each in SIGNALS if each.technique and not technique_name(each.technique)
    ] == []


assert AID
assert COMPOSITE_ID


async def test_an_alerts_own_page_says_it_in_the_same_words_contract_79(opened: Running) -> None:
    ann = await opened.person("ann")
    encoded, dump, _ = await tell(opened)
    page = (await ann.get(f"/alerts/{encoded.id}")).text
    assert "What was encoded in it" in page
    assert "<mark>" in page
    assert "downloadstring" in page.lower()
    page = (await ann.get(f"/alerts/{dump.id}")).text
    assert "T1003.001 OS Credential Dumping: LSASS Memory" in page
    assert "it reads passwords, keys or tickets that are stored there" in page
    [path] = set(re.findall(r'href="(/devices/[^"]+)"', page))
    assert (await ann.get(path)).status_code == 200
