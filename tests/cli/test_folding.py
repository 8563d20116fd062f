"""Sentences on a terminal are folded between words; what is to be copied is whole."""

import os
from types import SimpleNamespace

import pytest

from vyrox.cli.folding import folded
from vyrox.cli.vendor_steps import steps
from vyrox.tenants.webhook_options import WebhookOptions

TERMINAL = SimpleNamespace(isatty=lambda: True)
URL = "https://vyrox.example/webhook/crowdstrike/acme-corp"


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vyrox.cli.folding.sys", SimpleNamespace(stderr=TERMINAL))
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((80, 24)))


@pytest.mark.usefixtures("narrow")
def test_instructions_fit_a_terminal_contract_87() -> None:
    for vendor in ("crowdstrike", "sentinelone", "defender", "generic"):
        lines = steps(vendor, "acme-corp", URL, WebhookOptions())
        for line in lines:
            shown = folded(line)
            is_copied = "vyrox tenant" in line or "://" in line
            assert is_copied or max(map(len, shown.split("\n"))) <= 80
            assert shown.split() == line.split()
            assert not is_copied or shown == line


@pytest.mark.usefixtures("narrow")
def test_further_lines_of_a_step_are_indented_contract_87() -> None:
    assert folded(f"2. {'word ' * 20}end") == f"2. {'word ' * 14}word\n   {'word ' * 5}end"
    payload = f'   "{"word " * 20}"'
    assert folded(payload) == payload


def test_a_pipe_gets_whole_lines_contract_87() -> None:
    assert folded("word " * 40) == "word " * 40
