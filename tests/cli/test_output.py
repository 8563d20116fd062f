"""How commands print tables and records."""

from typing import Final

import pytest

from vyrox.cli.output import DEFAULT_COLUMNS, record_lines, table_lines

ID: Final = "0f8c1f5a-7a53-4d52-9a4e-0d3a4c9f4a11"
COLUMNS: Final = ("ID", "TIME", "REASON")
ROWS: Final = (
    (ID, "2024-01-02 00:00:00", None),
    ("short", "2024-01-02 00:00:01", "the payload has no 日本 field at all"),
)


@pytest.mark.parametrize("width", [None, 200])
def test_table_that_fits_has_a_line_for_each_row_without_padding(width: int | None) -> None:
    assert list(table_lines(COLUMNS, ROWS, width)) == [
        f"{'ID':36}  {'TIME':19}  REASON",
        f"{'-' * 36}  {'-' * 19}  {'-' * 36}",
        f"{ID}  2024-01-02 00:00:00  -",
        f"{'short':36}  2024-01-02 00:00:01  the payload has no 日本 field at all",
    ]


def test_table_that_does_not_fit_is_printed_as_records_with_whole_ids() -> None:
    assert list(table_lines(COLUMNS, ROWS, 30)) == [
        f"id      {ID}",
        "time    2024-01-02 00:00:00",
        "reason  -",
        "",
        "id      short",
        "time    2024-01-02 00:00:01",
        "reason  the payload has no 日本",
        "        field at all",
    ]


def test_table_without_rows_has_its_columns_only() -> None:
    assert list(table_lines(COLUMNS, (), DEFAULT_COLUMNS)) == [
        "ID  TIME  REASON",
        "--  ----  ------",
    ]
    assert list(table_lines(COLUMNS, (), 5)) == []


def test_cell_drives_no_terminal() -> None:
    lines = list(table_lines(("A",), [("\x1b[2J\n",)], None))
    assert lines[2] == r"\x1b[2J\n"
    assert list(record_lines({"a": "\x1b\n"}, 80)) == [r"a  \x1b\n"]
