"""`vyrox viewer` and `vyrox console link` (contract 76)."""

import json
import re
from pathlib import Path

import pytest

from tests.audit import NOW, TENANT
from tests.cli import Vyrox, refused, succeeded
from vyrox.chain.events import event
from vyrox.chain.writer import append
from vyrox.clock import wall_clock
from vyrox.console import links

pytestmark = pytest.mark.usefixtures("anyio_backend")

OTHER = "beta-org"


@pytest.fixture
def vyrox(data_dir: Path, database_url: str | None) -> Vyrox:
    found = Vyrox(data_dir, database_url).migrated()
    for tenant_id in (TENANT, OTHER):
        found.write(append, [event("alert.accepted", tenant_id, None, alert_id="a-0")], NOW)
    return found


def test_from_a_name_to_a_link_contract_76(vyrox: Vyrox) -> None:
    assert "there are no viewers" in vyrox("viewer", "list").stderr
    assert "not onboarded" in refused(vyrox("viewer", "add", "acme-crop", "vic"))
    added = succeeded(vyrox("viewer", "add", TENANT, "vic"))
    assert added == f"vic may see {TENANT}; sign in with: vyrox console link vic\n"
    printed = succeeded(vyrox("console", "link", "vic"))
    found = re.search(r"^  http://localhost:8002/link#([A-Za-z0-9_-]{43})$", printed, re.M)
    assert found is not None
    name, tenants, _ = vyrox.write(links.use, found[1], wall_clock())
    assert (name, tenants) == ("vic", [TENANT])
    [listed] = json.loads(succeeded(vyrox("viewer", "list", TENANT, "--json")))
    assert listed["name"] == "vic"
    assert "vic" in succeeded(vyrox("viewer", "list"))
    succeeded(vyrox("viewer", "remove", TENANT, "vic"))
    assert "neither an approver nor a viewer" in refused(vyrox("console", "link", "vic"))
    assert "no viewer vic" in refused(vyrox("viewer", "remove", TENANT, "vic"))


def test_several_people_of_one_name_are_told_apart_contract_76(vyrox: Vyrox) -> None:
    succeeded(vyrox("approver", "add", TENANT, "vic"))
    succeeded(vyrox("viewer", "add", OTHER, "vic"))
    assert f"vic of {TENANT}, {OTHER} may be different" in refused(vyrox("console", "link", "vic"))
    one = succeeded(vyrox("console", "link", "vic", "--tenant", OTHER))
    assert f"to see {OTHER}:" in one
    succeeded(vyrox("viewer", "remove", OTHER, "vic"))
    joined = succeeded(vyrox("viewer", "add", OTHER, "vic", "--home", TENANT))
    assert joined == f"vic of {TENANT} sees {OTHER} too, from the next request on\n"
    both = succeeded(vyrox("console", "link", "vic"))
    assert f"to see {TENANT}, {OTHER}:" in both
    assert vyrox("console", "link", "vic", "--tenant", "no/tenant").exit_code == 2
