"""Most patterns are never tried: a line without their texts cannot match them."""

from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.triage.samples import read
from vyrox.triage import catalogue
from vyrox.triage.literals import Scanner, clauses
from vyrox.triage.signal import Subject
from vyrox.triage.views import views

PATTERNS: Final = [
    pattern
    for signal in catalogue.SIGNALS
    if isinstance(signal.find, catalogue.Finder)
    for pattern in signal.find.patterns
]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("abc", [{"abc"}]),
        ("abc.{0,9}def?", [{"abc"}, {"de"}]),
        ("abc|xyz", [{"abc", "xyz"}]),
        ("nc|nc64|ncat", [{"nc"}, {"nc", "nc64", "ncat"}]),
        ("(?:curl|wget) x", [{"curl", "wget"}, {" x"}]),
        ("(?:abc)?", []),
        ("abc|[x-z]", []),
        (r"\bab\b(?!no)(?=yes)cd", [{"abcd"}]),
        ("(?:abc){2,3}", [{"abc"}]),
    ],
)
def test_clauses(pattern: str, expected: list[set[str]]) -> None:
    assert [set(each) for each in clauses(pattern)] == expected


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_clauses_hold_in_every_match(data: st.DataObject) -> None:
    pattern = data.draw(st.sampled_from(PATTERNS))
    text = data.draw(st.from_regex(pattern.source))
    assert pattern.search(text)
    assert pattern.may_match(Scanner(catalogue.index().texts).scan(text)), pattern.source


def test_scan_finds_texts_inside_others() -> None:
    assert Scanner(["nc", "ncat", "cat"]).scan("xncatx") == {"nc", "ncat", "cat"}


@pytest.mark.parametrize("name", ["malicious", "benign"])
def test_index_changes_no_result(name: str) -> None:
    for each in read(name):
        forms = views(each.judged.alert.process_cmdline)
        subject = Subject(each.judged.alert, forms, catalogue.present(forms))
        possible = catalogue.index().possible(subject)
        for signal in catalogue.SIGNALS:
            assert isinstance(signal.find, catalogue.Finder)
            if signal.name not in possible:
                assert not any(
                    pattern.search(view.text)
                    for pattern in signal.find.patterns
                    for view in forms.texts
                )


def test_nearly_every_pattern_needs_a_text() -> None:
    assert sum(not pattern.clauses for pattern in PATTERNS) <= 2
