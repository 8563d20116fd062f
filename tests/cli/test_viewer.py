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


def test_nobody_of_another_tenant_becomes_an_approver_by_name_contract_76(vyrox: Vyrox) -> None:
    """The operator says that it is one person, whichever of the two is done first."""
    for name in ("ann", "bob"):
        succeeded(vyrox("approver", "add", TENANT, name))
    succeeded(vyrox("viewer", "add", OTHER, "ann", "--home", TENANT))
    text = refused(vyrox("approver", "add", OTHER, "ann"))
    assert f"as the approver ann of {TENANT}, who would then act for {OTHER} too" in text
    assert "--same-person" in text
    assert "ann" not in vyrox("approver", "list", OTHER).stdout
    succeeded(vyrox("approver", "add", OTHER, "ann", "--same-person"))
    succeeded(vyrox("approver", "add", OTHER, "bob"))
    text = refused(vyrox("viewer", "add", OTHER, "bob", "--home", TENANT))
    assert f"bob of {TENANT} would act for {OTHER} too" in text
    succeeded(vyrox("viewer", "add", OTHER, "bob", "--home", TENANT, "--same-person"))
    succeeded(vyrox("viewer", "add", OTHER, "cyd"))
    succeeded(vyrox("viewer", "remove", OTHER, "cyd"))
    succeeded(vyrox("approver", "add", OTHER, "cyd"))  # of this tenant alone, it is one person
