"""Whether a process on the host is the one that the alert names."""

import string
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vyrox.edr.crowdstrike.processes import MAX_LINE_CHARS, MAX_LINES, Process, find_process

STARTED_AT = 1_718_624_979.0
"""2024-06-17 11:49:39 UTC."""

WINDOWS = """\
Name                            Id           Start Time (UTC-7)      WorkingMemory(kb)    CPU(s)
----                            --           ------------------      -----------------    ------
System                          4            6/17/2024 1:00:00 AM    144                  80.2
TaniumClient                    8316         6/17/2024 4:49:39 AM    20,412               1.5
Memory Compression              2096         6/17/2024 1:00:07 AM    9,310                0.1
"""
ISO = """\
Total: 2

pid\tname\tstarted (UTC)
8316\t/opt/Tanium Client/TaniumClient.EXE\t2024-06-17T11:49:39
1\tinit\t2024-06-17 01:00:00
"""
ZONED = """\
PID   Process Name      CreationTime
8316  taniumclient.exe  2024-06-17T13:49:39+02:00
"""


NARROW = """\
Name                         Id StartTime (UTC+5:30)   WorkingMemory(kb)     CPU(s) Path
----                         -- ---------------------- ----------------- ---------- ----
System                        4 6/17/2024 6:30:00 AM              12,480       0.53
tanium client 2             672 6/17/2024 5:19:39 PM              12,480       0.53 C:\\T
TaniumClient               8316 6/17/2024 5:19:39 PM              12,480       0.53 C:\\T
"""
"""Columns one space apart where they are full."""


@pytest.mark.parametrize("listing", [WINDOWS, ISO, ZONED, NARROW, WINDOWS.replace("\n", "\r\n")])
def test_find_process_reads_name_and_start(listing: str) -> None:
    found = find_process(listing, 8316)
    assert found is not None
    assert found.started_at == STARTED_AT
    assert found.is_same(Process("TaniumClient.exe", STARTED_AT))


@pytest.mark.parametrize("listing", [WINDOWS, ISO, ZONED])
def test_find_process_finds_no_other(listing: str) -> None:
    assert find_process(listing, 831) is None
    assert find_process(listing, 144) is None


@pytest.mark.parametrize(
    "listing",
    [
        pytest.param("", id="reject_empty"),
        pytest.param("8316 TaniumClient 6/17/2024 4:49:39 AM", id="reject_no_headings"),
        pytest.param(
            WINDOWS.replace("Start Time (UTC-7)", "Start Time        "), id="reject_no_zone"
        ),
        pytest.param(WINDOWS.replace("Start Time (UTC-7)", "CPU"), id="reject_no_start"),
        pytest.param(WINDOWS.replace("6/17/2024 4:49:39 AM", "Jun17"), id="reject_day_alone"),
        pytest.param(WINDOWS.replace("6/17/2024 4:49:39 AM", "n/a"), id="reject_unknown_start"),
        pytest.param(WINDOWS.replace("2096", "8316"), id="reject_number_twice"),
        pytest.param(
            WINDOWS.replace("Name  ", "Id    ", 1), id="reject_two_columns_with_one_heading"
        ),
        pytest.param(WINDOWS.replace("Name  ", "Owner ", 1), id="reject_another_column_first"),
        pytest.param(WINDOWS.replace("UTC-7", "local"), id="reject_a_zone_without_number"),
        pytest.param(
            WINDOWS + "TaniumClient  8316  TaniumClient\n", id="reject_number_in_an_odd_row"
        ),
        pytest.param(WINDOWS.replace("(UTC-7)", "(UTC-99)"), id="reject_impossible_zone"),
    ],
)
def test_find_process_refuses_what_it_cannot_compare(listing: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (whatever it says, nothing is killed)
        find_process(listing, 8316)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(Process("svchost.exe", STARTED_AT), id="reject_other_name"),
        pytest.param(Process("TaniumClient.exe", STARTED_AT + 3), id="reject_later"),
        pytest.param(Process("TaniumClient.exe", STARTED_AT - 3), id="reject_earlier"),
        pytest.param(Process("TaniumClient.exe.bak", STARTED_AT), id="reject_longer_name"),
        pytest.param(Process("", STARTED_AT), id="reject_no_name"),
    ],
)
def test_is_same_refuses(other: Process) -> None:
    assert not Process("TaniumClient", STARTED_AT).is_same(other)


@pytest.mark.parametrize("start", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"])
def test_find_process_takes_the_ends_of_time(start: str) -> None:
    found = find_process(ZONED.replace("2024-06-17T13:49:39+02:00", start), 8316)
    assert found is not None
    assert not found.is_same(Process("TaniumClient.exe", STARTED_AT))


def test_is_same_allows_what_two_records_of_one_process_differ_in() -> None:
    recorded = Process("TANIUMCLIENT.EXE", STARTED_AT + 1.9)
    assert recorded.is_same(Process(r"C:\Tanium\TaniumClient", STARTED_AT))


def test_find_process_reads_a_name_with_spaces_and_digits() -> None:
    found = find_process(NARROW, 672)
    assert found is not None
    assert found.name == "tanium client 2"
    assert find_process(NARROW, 2) is None


def test_find_process_is_not_misled_by_the_name_of_another_process() -> None:
    # It poses as process 8316, which runs as well: two records of one number.
    posing = "TaniumClient  8316  6/17/2024 4:49:39 AM   999   6/18/2024 1:00:00 AM  1  1\n"
    with pytest.raises(ValueError, match="several"):
        find_process(WINDOWS + posing, 8316)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("a" + " " * 500_000 + "x", id="reject_white_space"),
        pytest.param("a" + " 1" * 250_000, id="reject_numbers"),
        pytest.param("a " + "1" * 500_000, id="reject_a_long_number"),
        pytest.param("name id start (" + " " * 500_000, id="reject_headings"),
        pytest.param("a\t" * 250_000 + "8316 1/1/2024", id="reject_tabs"),
    ],
)
def test_find_process_reads_hostile_lines_in_time_that_grows_with_their_length(line: str) -> None:
    """Where it grows with the square, this hangs."""
    with suppress(ValueError):
        find_process(f"{WINDOWS}{line}\n", 4)
    with suppress(ValueError):
        find_process(f"{line}\n{WINDOWS}", 4)


def test_find_process_refuses_a_list_of_very_many_lines() -> None:
    with pytest.raises(ValueError, match="too many lines"):
        find_process(WINDOWS + "a\n" * MAX_LINES, 8316)


def test_find_process_takes_any_white_space_for_one_space() -> None:
    found = find_process(NARROW.replace("tanium client 2", "tanium   client\t2"), 672)
    assert found is not None
    assert found.is_same(Process("Tanium  Client 2.exe", found.started_at))


@given(st.text(alphabet=string.printable, max_size=400), st.integers(1, 9999))
def test_find_process_takes_any_text(text: str, pid: int) -> None:
    # The host that wrote it may be the attacker's.
    for listing in (text, WINDOWS + text, WINDOWS.splitlines()[0] + "\n" + text):
        try:
            find_process(listing, pid)
        except ValueError:
            continue


def test_find_process_refuses_a_line_that_is_too_long() -> None:
    """A thread that matches one line lets no other thread run."""
    listing = "Name Id StartTime (UTC)\nx 1 2024-06-17 11:49:39\n"
    assert find_process(listing, 1) is not None
    with pytest.raises(ValueError, match="too long"):
        find_process(listing + "y" * (MAX_LINE_CHARS + 1), 1)
