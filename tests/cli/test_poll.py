"""`vyrox tenant poll`: what it refuses. `tests/pollers/test_service.py` uses it (contract 72)."""

from pathlib import Path

import pytest

from tests.cli import Vyrox, refused, succeeded


@pytest.fixture
def vyrox(data_dir: Path) -> Vyrox:
    return Vyrox(data_dir).migrated()


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("acme-corp", "--off"), "--off needs --vendor."),
        (("--vendor", "defender"), "--vendor needs TENANT."),
        (("acme-corp", "--vendor", "generic"), "'generic' is not one of"),
    ],
)
def test_poll_refuses_half_a_command_contract_72(
    vyrox: Vyrox, args: tuple[str, ...], text: str
) -> None:
    result = vyrox("tenant", "poll", *args)
    assert result.exit_code == 2
    assert text in result.stderr


def test_poll_names_what_is_missing_contract_72(vyrox: Vyrox) -> None:
    on = ("tenant", "poll", "acme-corp", "--vendor", "defender")
    assert "vyrox tenant edr set acme-corp --vendor defender" in refused(vyrox(*on))
    assert "is not polled at defender" in refused(vyrox(*on, "--off"))
    assert "acme-corp is not onboarded" in refused(vyrox("tenant", "poll", "acme-corp"))
    assert succeeded(vyrox("tenant", "poll", "--json")) == "[]\n"
    assert len(succeeded(vyrox("tenant", "poll")).splitlines()) == 1
