"""The log for people, and what `vyrox serve` says at its start (contract 90)."""

import contextlib
import logging
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.service import ROOT, environment, running_service
from vyrox import log
from vyrox.cli import log_text
from vyrox.cli.log_text import TextLines, choose
from vyrox.settings import Settings

AT = 1_764_435_600.5
ID = "f564282a-0000-4000-8000-000000000001"


@pytest.fixture(autouse=True)
def _width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_text, "_terminal_width", lambda: 80)


def terminal(*, has_colors: bool = False) -> TextLines:
    return TextLines(is_terminal=True, has_colors=has_colors)


def encoded(level: int, name: str, lines: TextLines | None = None, **fields: object) -> list[str]:
    return (lines or terminal()).encode(AT, level, name, fields, None).decode().splitlines()


def test_text_is_short_aligned_and_has_ids_at_the_end_contract_90() -> None:
    found = encoded(
        logging.INFO,
        "alert.accepted",
        request_id=ID,
        source="crowdstrike",
        alert_id=ID,
        host="WS-FINANCE-07",
        process="powershell.exe",
        tenant="acme-corp",
        technique=None,
    )
    assert found == [
        "17:00:00 info  alert.accepted         acme-corp host=WS-FINANCE-07",
        "               source=crowdstrike process=powershell.exe alert=f564282a",
        "               req=f564282a",
    ]
    assert max(map(len, found)) <= 80


def test_text_in_a_file_is_one_whole_line_contract_90() -> None:
    lines = TextLines(is_terminal=False, has_colors=False)
    [line] = encoded(logging.WARNING, "x.y", lines, reason="r " * 90, request_id=ID)
    assert line.endswith(f" req={ID}")


def test_text_colors_time_and_name_contract_90() -> None:
    [line] = encoded(logging.ERROR, "store.lost", terminal(has_colors=True), reason="full")
    assert re.sub("\033\\[[0-9]+m", "", line) == encoded(40, "store.lost", reason="full")[0]
    assert "\033[31mstore.lost\033[0m" in line


@pytest.mark.parametrize("is_terminal", [True, False])
@given(
    name=st.text(max_size=100),
    fields=st.dictionaries(st.text(), st.text(st.characters(exclude_categories=()))),
    traceback=st.none() | st.text(st.characters(exclude_categories=())),
)
def test_text_no_input_starts_a_line_or_controls_a_terminal_contract_90(
    is_terminal: bool, name: str, fields: dict[str, str], traceback: str | None
) -> None:
    for charset in ("utf-8", "ascii"):
        lines = TextLines(is_terminal=is_terminal, has_colors=False, charset=charset)
        text = lines.encode(AT, logging.ERROR, name, fields, traceback).decode(charset)
        first, *others = text.split("\n")
        assert first.startswith("17:00:00 ERROR ")
        assert all(line.startswith("  ") for line in others)
        assert all(line.isprintable() for line in [first, *others])


def test_text_quotes_what_could_be_taken_for_a_field_contract_90() -> None:
    [line] = encoded(20, "a.b", host='x reason="y"\n')
    assert line.endswith(r' host="x reason=\"y\"\n"')


def test_text_counts_only_events_without_a_line_contract_90() -> None:
    lines = terminal()
    encoded(20, "alert.accepted", lines)
    totals = {"alert.accepted": 1, "http.evicted": 7}
    [line] = encoded(20, "event_counts", lines, totals=totals)
    assert line.endswith("event_counts           http.evicted=7")
    assert encoded(20, "event_counts", lines, totals=totals) == []


def test_choose_takes_json_where_there_is_no_terminal_contract_90(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "isatty", lambda _: False)
    assert choose(Settings()) is log.encode_json
    assert choose(Settings(log_format="text")) is not log.encode_json
    monkeypatch.setattr(os, "isatty", lambda _: True)
    assert choose(Settings()) is not log.encode_json
    assert choose(Settings(log_format="json")) is log.encode_json
    for no_color in (True, False):
        line = choose(Settings(no_color=no_color))(AT, 20, "a", {}, None)
        assert (b"\033" in line) != no_color


async def test_serve_says_at_its_start_what_it_is_contract_90(data_dir: Path) -> None:
    async with running_service(data_dir, DRY_RUN="false") as service:
        serving = await service.wait_for("serving")
    assert serving["mode"] == "live"
    assert (serving["tenants"], serving["approvers"]) == (0, 0)
    assert serving["database"] == f"SQLite in {data_dir}"
    assert serving["version"]


def test_serve_on_a_terminal_is_for_people_contract_90(data_dir: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "vyrox", "serve"],
        cwd=ROOT,
        env=environment(data_dir, {"NO_COLOR": "1"}),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # Linux: the other end is closed
        while part := os.read(ours, 4096):
            was_open, shown = b"console  " in shown, shown + part
            if b"console  " in shown and not was_open:
                process.terminate()
    os.close(ours)
    assert process.wait() == 0
    text = shown.decode()
    assert "serving                DRY RUN: no vendor is called" in text
    assert re.search(r"^ +public    127\.0\.0\.1:\d+", text, re.M)
    assert "\033" not in text
    assert "{" not in text
