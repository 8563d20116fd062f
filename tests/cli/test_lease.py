"""`vyrox lease`, and the length of a containment that is proposed (contract 68)."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.approvals.decided import prepared
from tests.approvals.test_leases import opened_site
from tests.audit import TENANT
from tests.cli import Vyrox, refused, rows_of, succeeded
from vyrox.clock import wall_clock
from vyrox.store.database import open_database

pytestmark = pytest.mark.usefixtures("anyio_backend")


@pytest.fixture
def vyrox(data_dir: Path, database_url: str | None) -> Vyrox:
    """A tenant with one containment, which ends in 4 h."""
    found = Vyrox(data_dir, database_url).migrated()

    async def contain() -> None:
        async with open_database(database_url, data_dir) as database:
            await prepared(database)
            async with opened_site(database) as site:
                site.proxy.clock.now = wall_clock()
                await site.contain()

    asyncio.run(contain())
    return found


def test_leases_are_listed_extended_and_ended_contract_68(vyrox: Vyrox) -> None:
    [row] = rows_of(succeeded(vyrox("lease", "list", TENANT)))
    assert (row["TENANT"], row["STATE"]) == (TENANT, "in force")
    assert "initech is not onboarded" in vyrox("lease", "list", "initech").stderr

    extend = ("lease", "extend", TENANT, "WORKSTATION-01", "--reason", "not clean", "--by", "ann")
    made = vyrox(*extend, "--lease", "2d")
    assert "HOST_ISOLATION\nthe containment would end after 48 h\n" in succeeded(made)
    # The person who asks does not count where two are needed.
    assert "2 persons must approve it, of: bob, cyd" in made.stderr
    proposal_id = made.stdout.split()[1].rstrip(",")
    assert (
        "Ends: after 48 h; postponed once by 1 h" in vyrox("approval", "show", proposal_id).stdout
    )

    assert "State: contained until 20" in vyrox("approval", "show", proposal_id).stdout

    ended = vyrox("lease", "end", TENANT, "workstation-01", "--reason", "clean", "--json")
    asked = json.loads(succeeded(ended))
    assert (asked["action_type"], asked["required"]) == ("LIFT_HOST_ISOLATION", 1)
    assert asked["approvers"] == ["ann", "bob", "cyd"]
    assert "has no lease of dc-1" in refused(vyrox("lease", "end", TENANT, "dc-1", "--reason", "x"))
    assert vyrox(*extend, "--lease", "2d", "--no-end").exit_code == 2
    assert vyrox(*extend, "--lease", "0h").exit_code == 2


@pytest.mark.parametrize("command", ["extend", "end"])
def test_a_change_of_a_lease_may_be_decided_on_as_long_as_is_set_contract_62(
    vyrox: Vyrox, command: str
) -> None:
    vyrox.env["APPROVAL_TTL_SECONDS"] = "3600"
    made = vyrox("lease", command, TENANT, "workstation-01", "--reason", "why", "--json")
    shown = vyrox("approval", "show", json.loads(succeeded(made))["proposal_id"], "--json")
    proposal = json.loads(json.loads(succeeded(shown))["proposal"])
    assert proposal["expires_at"] - proposal["created_at"] == 3600


@pytest.mark.parametrize(
    ("options", "ends"),
    [
        ((), "after 4 h; postponed"),
        (("--lease", "90m"), "after 90 min; postponed"),
        (("--no-end",), "never\n"),
    ],
)
def test_a_containment_is_proposed_with_its_end_contract_68(
    vyrox: Vyrox, options: tuple[str, ...], ends: str
) -> None:
    fields = ("--tenant", TENANT, "--alert", "alt_abc123", "--action", "NETWORK_QUARANTINE")
    made = vyrox("approval", "propose", *fields, "--host", "id-9", "--reason", "why", *options)
    proposal_id = succeeded(made).split()[1].rstrip(",")
    assert f"Ends: {ends}" in vyrox("approval", "show", proposal_id).stdout
