"""How commands print tables and records (contract 87)."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.cli import drives_no_terminal
from vyrox.cli import paging
from vyrox.cli.output import record_lines, shortened
from vyrox.cli.tables import At, Column, table_lines

ID: Final = "0f8c1f5a-7a53-4d52-9a4e-0d3a4c9f4a11"
OTHER: Final = "0f8c1f5b-7a53-4d52-9a4e-0d3a4c9f4a11"
NOW: Final = 1_704_153_601.0
"""2024-01-02 00:00:01 UTC."""

COLUMNS: Final = (
    "STATE",
    Column("HOST", "name"),
    Column("WHY", "cut"),
    "AT",
    Column("SHA-256", "wide"),
    Column("VENDOR", "more"),
    Column("TENANT", "same"),
    Column("ALERT", "id"),
)
ROWS: Final = (
    ("ok", "pc-1", None, At(NOW - 1), "abc", "defender", "acme", ID),
    (
        "WRONG",
        "workstation-17",
        "the payload has no 日本 field at all",
        At(NOW),
        "",
        "",
        "acme",
        OTHER,
    ),
)


def test_a_row_in_a_pipe_is_a_line_of_whole_cells_between_tabs_contract_87() -> None:
    assert list(table_lines(COLUMNS, ROWS, None, now=NOW)) == [
        "STATE\tHOST\tWHY\tAT\tVENDOR\tTENANT\tALERT",
        f"ok\tpc-1\t-\t2024-01-02 00:00:00\tdefender\tacme\t{ID}",
        f"WRONG\tworkstation-17\t{ROWS[1][2]}\t2024-01-02 00:00:01\t-\tacme\t{OTHER}",
    ]
    assert list(table_lines(COLUMNS, (), None)) == ["STATE\tHOST\tWHY\tAT\tVENDOR\tTENANT\tALERT"]


def test_a_table_is_as_wide_as_the_terminal_contract_87() -> None:
    assert list(table_lines(COLUMNS, ROWS, 60, now=NOW)) == [
        "STATE  HOST            WHY                AT        ALERT",
        "ok     pc-1            -                  00:00:00  0f8c1f5a",
        "WRONG  workstation-17  the payload has …  00:00:01  0f8c1f5b",
    ]
    # A name is cut only when nothing else can be.
    assert list(table_lines(COLUMNS, ROWS, 45, now=NOW))[2] == (
        "WRONG  worksta…  the pay…  00:00:01  0f8c1f5b"
    )
    assert list(table_lines(COLUMNS, (), 80)) == []


def test_wide_shows_every_column_whole_contract_87() -> None:
    lines = list(table_lines(COLUMNS, ROWS, 20, is_wide=True, now=NOW))
    assert lines[0].split() == [
        "STATE", "HOST", "WHY", "AT", "SHA-256", "VENDOR", "TENANT", "ALERT"
    ]  # fmt: skip
    assert lines[1].split() == [
        "ok", "pc-1", "-", "2024-01-02", "00:00:00", "abc", "defender", "acme", ID
    ]  # fmt: skip


def test_a_time_is_short_on_a_terminal_contract_87() -> None:
    rows = [(At(NOW),), (At(NOW - 2),), (At(0.0),)]
    assert list(table_lines(["AT"], rows, 80, now=NOW)) == [
        "AT",
        "00:00:01",
        "2024-01-01" if NOW < 0 else "2023-12-31" if NOW < 1 else "01-01 23:59",
        "1970-01-01",
    ]


def test_short_ids_are_as_long_as_it_takes_to_tell_them_apart_contract_87() -> None:
    rows = [("0123456789a",), ("0123456789b",), ("0123456789a",)]
    lines = list(table_lines([Column("ID", "id")], rows, 80))
    assert lines == ["ID", "0123456789a", "0123456789b", "0123456789a"]


def test_a_table_that_cannot_fit_is_printed_as_records_with_whole_ids_contract_87() -> None:
    assert list(table_lines(COLUMNS, ROWS[:1], 30, now=NOW)) == [
        "state  ok",
        "host   pc-1",
        "why    -",
        "at     00:00:00",
        f"alert  {ID}",
    ]


def test_cell_drives_no_terminal() -> None:
    hostile = "\x1b[2J\n\t\u202e"
    for width in (None, 80, 10):
        assert drives_no_terminal("\n".join(table_lines(("A",), [(hostile,)], width)))
        assert len(list(table_lines(("A",), [(hostile,)], width))) <= 2
    assert list(table_lines(("A", "B"), [(hostile, "x")], None))[1].count("\t") == 1
    assert list(record_lines({"a": "\x1b\n"}, 80)) == [r"a  \x1b\n"]


def test_cut_text_is_never_too_wide() -> None:
    assert shortened("日本" * 1000, 9) == "日本日本…"
    assert shortened("a\u0301" * 10, 80) == "a\u0301" * 10


def test_a_pager_shows_what_a_terminal_is_too_small_for_contract_87(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pager here writes to a file what it is given, and the options that it is called with."""
    program = tmp_path / "less"
    program.write_text(f"#!{sys.executable}\nimport sys; print(sys.argv[1:], sys.stdin.read())\n")
    program.chmod(0o700)
    script = (
        "import sys; from vyrox.cli.paging import page; page(map(str, range(int(sys.argv[1]))))"
    )

    def shown(lines: int, *, is_terminal: bool) -> str:
        command = [sys.executable, "-c", script, str(lines)]
        env = {"PATH": str(tmp_path), "LINES": "10", "COLUMNS": "80", "PYTHONPATH": "."}
        if is_terminal:
            command = ["/usr/bin/script", "-qec", " ".join(f"'{c}'" for c in command), "/dev/null"]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        return done.stdout.replace("\r", "")

    assert shown(5, is_terminal=True) == "0\n1\n2\n3\n4\n"
    assert shown(20, is_terminal=True).startswith("['-FRX'] 0\n1\n2\n")
    assert shown(20, is_terminal=False).startswith("0\n1\n2\n")
    assert paging.PAGER == ("less", "-FRX")
