"""Verification of an export with nothing but the export (contract 30 and 31)."""

import ast
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from vyrox.chain import verify
from vyrox.chain.entry import GENESIS, MAX_WHOLE, Scalar, seal
from vyrox.chain.verify import Chain, Report, TamperedError, verify_entries

ROOT = Path(__file__).parent.parent.parent
VERIFIER = ROOT / "verify_audit.py"
DAY_S = 86_400
START = 1704067200
"""2024-01-01T00:00:00Z, a midnight."""

Object = dict[str, object]

VECTORS: list[Object] = [
    vector["entry"]
    for vector in json.loads((ROOT / "tests/data/audit-chain.json").read_text("utf-8"))["chain"]
]


def action(number: int, host: str = "workstation-\u00fc\u2028\U0001f512") -> dict[str, Scalar]:
    return {
        "tenant_id": "acme-corp",
        "action_type": "HOST_ISOLATION",
        "host": f"{host}{number}",
        "approved_by": 'jane {"\\"} smith\n#1234',
        "dry_run": number % 2 == 0,
    }


def event(number: int) -> dict[str, Scalar]:
    return {
        "tenant_id": "acme-corp",
        "kind": "execute.outcome",
        "request_id": None if number % 2 else f"request-{number}",
        "attempts": number,
        "told": True,
    }


Members = Callable[[int], dict[str, Scalar]]


def chain(count: int, members: Members = action, step_s: int = 1) -> list[bytes]:
    """Return the entries of a chain, as they are stored and exported."""
    entries: list[bytes] = []
    previous_hash = GENESIS
    for number in range(count):
        sealed = seal(members(number), previous_hash, START + number * step_s)
        previous_hash = sealed.hash
        entries.append(sealed.json)
    return entries


def array(entries: Sequence[bytes]) -> bytes:
    return b"[" + b",".join(entries) + b"]"


def lines(entries: Iterable[bytes]) -> bytes:
    return b"".join(entry + b"\n" for entry in entries)


def rehashed(entry: Mapping[str, object]) -> Object:
    """Return the entry with the right hash of its content, valid or not."""
    content = {name: value for name, value in entry.items() if name != "hash"}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    text = f"{content.get('previous_hash')}|{canonical}".encode("utf-8", "surrogatepass")
    return {**content, "hash": hashlib.sha256(text).hexdigest()}


def run(path: str, *options: str) -> tuple[int, Object]:
    """Return the exit status and the JSON object that the verifier prints."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = verify.main(["--json", *options, path])
    assert err.getvalue() == ""
    assert out.getvalue().isascii()
    result: Object = json.loads(out.getvalue())
    assert result["status"] == status
    return status, result


def run_on(export: bytes, *options: str) -> tuple[int, Object]:
    with tempfile.NamedTemporaryFile(prefix="vx-") as file:
        file.write(export)
        file.flush()
        return run(file.name, *options)


def run_process(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run the verifier as an auditor does: alone, without installed packages."""
    return subprocess.run(
        [sys.executable, "-I", "-S", str(VERIFIER), *arguments],
        input=given,
        capture_output=True,
        check=False,
        timeout=60,
    )


def problem(entries: Iterable[bytes | Object]) -> TamperedError:
    """Return the problem that the verifier finds. Entries that are not bytes are encoded first."""
    with pytest.raises(TamperedError) as caught:
        verify_entries(
            entry if isinstance(entry, bytes) else json.dumps(entry) for entry in entries
        )
    return caught.value


def test_verify_entries_of_the_vectors_contract_31() -> None:
    assert verify_entries(map(json.dumps, VECTORS)) == Report(
        entries=3,
        stream="actions",
        tenant_id="acme-corp",
        first_timestamp=1704067200,
        last_timestamp=1704067260,
        last_hash="ea9ed335f5b2f502bf7767f8db6d88f7d7cec352328ad16441e61430ca9194ac",
    )


def test_verify_entries_of_an_event_chain_contract_27() -> None:
    report = verify_entries(chain(4, event))
    assert (report.entries, report.stream) == (4, "events")


def test_verify_entries_takes_entries_of_one_second_contract_33() -> None:
    report = verify_entries(chain(3, step_s=0))
    assert (report.first_timestamp, report.last_timestamp) == (START, START)


@pytest.mark.parametrize("number", [MAX_WHOLE, -MAX_WHOLE])
def test_verify_entries_takes_the_largest_number(number: int) -> None:
    assert verify_entries(chain(1, lambda _: event(0) | {"attempts": number})).entries == 1


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
entries_of_either_stream = st.fixed_dictionaries(
    dict.fromkeys(["tenant_id", "action_type", "host", "approved_by"], texts)
    | {"dry_run": st.booleans()}
) | st.builds(
    lambda own, common: own | common,
    st.dictionaries(
        st.text(st.characters(codec="ascii"), max_size=8),
        texts | st.booleans() | st.none() | st.integers(-MAX_WHOLE, MAX_WHOLE),
    ),
    st.fixed_dictionaries({"tenant_id": texts, "kind": texts, "request_id": texts | st.none()}),
)


@settings(deadline=None)
@given(entries_of_either_stream)
def test_verify_entries_hashes_rfc_8785_contract_31(members: dict[str, Scalar]) -> None:
    content = {**members, "timestamp": START, "previous_hash": GENESIS}
    content.pop("hash", None)
    entry_hash = hashlib.sha256(f"{GENESIS}|".encode() + rfc8785.dumps(content)).hexdigest()
    report = verify_entries([json.dumps({**content, "hash": entry_hash})])
    assert report.last_hash == entry_hash


def documented_order(entry: bytes) -> bytes:
    decoded = json.loads(entry)
    return json.dumps({name: decoded[name] for name in verify.ACTION_TYPES}).encode()


ENTRIES = chain(3)


@pytest.mark.parametrize(
    "export",
    [
        pytest.param(array(ENTRIES), id="allow_array"),
        pytest.param(array(ENTRIES) + b"\n", id="allow_array_with_final_newline"),
        pytest.param(b"[\n" + b",\n".join(ENTRIES) + b"\n]\n", id="allow_array_by_lines"),
        pytest.param(
            json.dumps([json.loads(entry) for entry in ENTRIES], indent=4).encode(),
            id="allow_array_indented_and_escaped",
        ),
        pytest.param(lines(ENTRIES), id="allow_lines"),
        pytest.param(b"\n".join(ENTRIES), id="allow_no_final_newline"),
        pytest.param(b"\r\n".join(ENTRIES) + b"\r\n", id="allow_windows_line_ends"),
        pytest.param(b"\n\n \t\n" + b"\n\n".join(ENTRIES), id="allow_blank_lines"),
        pytest.param(lines(map(documented_order, ENTRIES)), id="allow_other_order_of_members"),
    ],
)
def test_main_takes_every_form_of_an_export_contract_26(export: bytes) -> None:
    status, result = run_on(export, "--links-only")
    assert (status, result["entries"]) == (verify.VERIFIED, 3)


@pytest.mark.parametrize("entry", range(3))
def test_main_takes_an_export_of_any_alignment(entry: int) -> None:
    # Each character of the entry is once at the end of one read and the start of the next.
    export = b"[\n" + b",\n".join(ENTRIES) + b"]"
    start = export.index(ENTRIES[entry])
    for offset in range(start, start + len(ENTRIES[entry]) + 3):
        status, result = run_on(b"\n" * (verify.CHUNK_BYTES - offset) + export)
        assert (status, result["entries"]) == (verify.NO_CHECKPOINT, 3)


@pytest.mark.parametrize("form", [array, lines])
def test_main_names_entry_and_line_far_into_an_export(
    form: Callable[[Sequence[bytes]], bytes],
) -> None:
    entries = chain(1000)
    entries[899] = entries[899].replace(b"workstation", b"workstatiom")
    status, result = run_on(form(entries))
    assert (status, result["entry"]) == (verify.TAMPERED, 900)
    assert result["line"] == (900 if form is lines else 1)


def without(entry: Object, name: str) -> Object:
    return {key: value for key, value in entry.items() if key != name}


SECOND_ACTION: Object = json.loads(ENTRIES[1])
SECOND_EVENT: Object = json.loads(chain(2, event)[1])


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        *(
            pytest.param(without(SECOND_ACTION, name), f"lacks {name}", id=f"reject_no_{name}")
            for name in verify.ACTION_TYPES
            if name != "hash"
        ),
        *(
            pytest.param(SECOND_ACTION | {name: None}, f"its {name}", id=f"reject_null_{name}")
            for name in verify.ACTION_TYPES
            if name != "hash"
        ),
        pytest.param(SECOND_ACTION | {"timestamp": True}, "its timestamp", id="reject_true_time"),
        pytest.param(SECOND_ACTION | {"timestamp": "1"}, "its timestamp", id="reject_text_time"),
        pytest.param(SECOND_ACTION | {"timestamp": -1}, "1970", id="reject_before_1970"),
        pytest.param(SECOND_ACTION | {"timestamp": 253402300800}, "9999", id="reject_after_9999"),
        pytest.param(SECOND_ACTION | {"dry_run": 0}, "its dry_run", id="reject_number_dry_run"),
        pytest.param(SECOND_ACTION | {"host": 5}, "its host", id="reject_number_host"),
        pytest.param(SECOND_ACTION | {"host": ["h"]}, "its host", id="reject_list_host"),
        pytest.param(SECOND_ACTION | {"host": {}}, "its host", id="reject_object_host"),
        pytest.param(SECOND_ACTION | {"host": "\ud800"}, "surrogate", id="reject_surrogate"),
        pytest.param(SECOND_ACTION | {"note": "n"}, "too many: 'note'", id="reject_ninth_member"),
        pytest.param(SECOND_ACTION | {"\u00fc": 1}, "too many: '\\xfc'", id="reject_ninth_escaped"),
        pytest.param(SECOND_ACTION | {"tenant_id": "b"}, "tenant 'b'", id="reject_other_tenant"),
        pytest.param(
            SECOND_ACTION | {"timestamp": START - 1}, "before", id="reject_time_going_back"
        ),
        pytest.param(
            SECOND_ACTION | {"previous_hash": GENESIS}, "previous_hash", id="reject_genesis"
        ),
        pytest.param(SECOND_EVENT, "(events)", id="reject_event_among_actions"),
    ],
)
def test_verify_entries_refuses_an_action_rehashed(changed: Object, reason: str) -> None:
    # With a new hash, the only thing wrong with the entry is what is tested.
    found = problem([ENTRIES[0], rehashed(changed), ENTRIES[2]])
    assert (found.number, reason in found.reason) == (2, True), found.reason
    assert found.reason.isascii()


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        *(
            pytest.param(without(SECOND_EVENT, name), name, id=f"reject_no_{name}")
            for name in ("timestamp", "tenant_id", "previous_hash", "request_id")
        ),
        pytest.param(SECOND_EVENT | {"kind": None}, "its kind", id="reject_null_kind"),
        pytest.param(
            SECOND_EVENT | {"request_id": 7}, "its request_id", id="reject_number_request"
        ),
        pytest.param(SECOND_EVENT | {"n": [1]}, "neither text", id="reject_list"),
        pytest.param(SECOND_EVENT | {"n": {}}, "neither text", id="reject_object"),
        pytest.param(SECOND_EVENT | {"n": 2**53}, "beyond 2^53", id="reject_2_to_53"),
        pytest.param(SECOND_EVENT | {"n": -(2**53)}, "beyond 2^53", id="reject_minus_2_to_53"),
        pytest.param(SECOND_EVENT | {"\u00fc": 1}, "not ASCII", id="reject_name"),
        pytest.param(SECOND_ACTION, "(actions)", id="reject_action_among_events"),
    ],
)
def test_verify_entries_refuses_an_event_rehashed(changed: Object, reason: str) -> None:
    found = problem([chain(1, event)[0], rehashed(changed)])
    assert (found.number, reason in found.reason) == (2, True), found.reason


@pytest.mark.parametrize("name", sorted(verify.ACTION_TYPES))
def test_verify_entries_notices_a_changed_member(name: str) -> None:
    value = SECOND_ACTION[name]
    changed = not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else "f"
    found = problem([ENTRIES[0], SECOND_ACTION | {name: changed}, ENTRIES[2]])
    assert found.number == 2


@pytest.mark.parametrize("value", [None, 7, "", GENESIS, str(SECOND_ACTION["hash"]).upper()])
def test_verify_entries_notices_another_hash(value: object) -> None:
    assert problem([ENTRIES[0], SECOND_ACTION | {"hash": value}]).number == 2


def test_verify_entries_notices_an_entry_without_hash() -> None:
    assert problem([ENTRIES[0], without(SECOND_ACTION, "hash")]).reason == "it lacks hash"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(b'{"host":"b",' + ENTRIES[1][1:], "twice", id="reject_member_twice"),
        pytest.param(
            ENTRIES[1].replace(b":1704067201", b":1704067201.0"), "not whole", id="reject_fraction"
        ),
        pytest.param(
            ENTRIES[1].replace(b":1704067201", b":1704067201e0"), "not whole", id="reject_exponent"
        ),
        pytest.param(ENTRIES[1].replace(b":1704067201", b":NaN"), "not whole", id="reject_nan"),
        pytest.param(
            ENTRIES[1].replace(b":1704067201", b":" + b"1" * 9999),
            "beyond",
            id="reject_9999_digits",
        ),
        pytest.param(ENTRIES[1].replace(b"work", b"\xff"), "UTF-8", id="reject_not_utf_8"),
        pytest.param(ENTRIES[1].replace(b"work", b"\n"), "not JSON", id="reject_raw_newline"),
        pytest.param(ENTRIES[1].replace(b"work", b"\\x"), "not JSON", id="reject_unknown_escape"),
        pytest.param(b"[" + ENTRIES[1] + b"]", "not a JSON object", id="reject_array"),
        pytest.param(b"null", "not a JSON object", id="reject_null"),
        pytest.param(b"", "not JSON", id="reject_nothing"),
        pytest.param(ENTRIES[1] + ENTRIES[2], "more on its line", id="reject_two"),
        pytest.param(ENTRIES[1][:-1], "not JSON", id="reject_cut"),
        pytest.param(b'{"a":' + b"[" * 50_000, "too deeply", id="reject_deep_nesting"),
    ],
)
def test_verify_entries_refuses_text(text: bytes, reason: str) -> None:
    found = problem([ENTRIES[0], text])
    assert (found.number, reason in found.reason) == (2, True), found.reason


def test_add_takes_the_right_entry_after_a_wrong_one() -> None:
    begun = Chain()
    with pytest.raises(TamperedError):
        begun.add(OTHER_TENANT[0].replace(b"2", b"3"))
    with pytest.raises(TamperedError):
        begun.add(ENTRIES[1])
    assert begun.report() == Report(0, None, None, None, None, GENESIS)
    for entry in ENTRIES:
        begun.add(entry)
    assert begun.report() == verify_entries(ENTRIES)


def test_verify_entries_without_the_first_contract_30() -> None:
    found = problem(ENTRIES[1:])
    assert (found.number, "64 zeros" in found.reason) == (1, True)


def meaning(export: bytes) -> list[str]:
    """Return what the entries of an export say, in spite of white space, order and escapes."""
    text = export.decode()
    if text.lstrip(" \t\r\n").startswith("["):
        entries = json.loads(text, object_pairs_hook=lambda pairs: sorted(map(repr, pairs)))
    else:
        entries = [
            json.loads(line, object_pairs_hook=lambda pairs: sorted(map(repr, pairs)))
            for line in text.split("\n")
            if line.strip(" \t\r")
        ]
    return [repr(entry) for entry in entries]


def expected_status(original: Sequence[bytes], export: bytes) -> int:
    """Return what an export must exit with: 3 for a beginning of the chain, as links go."""
    if not export.strip(b" \t\r\n"):
        return verify.USAGE
    try:
        entries = meaning(export)
    except (ValueError, RecursionError):
        return verify.TAMPERED
    beginning = meaning(lines(original[: len(entries)]))
    return verify.NO_CHECKPOINT if entries == beginning else verify.TAMPERED


LONGER = chain(6)
OTHER_HOSTS = chain(6, lambda number: action(number, "server-"))
OTHER_TENANT = chain(6, lambda number: {**action(number), "tenant_id": "other"})
forms = st.sampled_from([array, lines])
places = st.integers(0, len(lines(LONGER)) - 1)


@given(forms, places, st.integers(0, 7))
def test_main_notices_a_flipped_bit(
    form: Callable[[Sequence[bytes]], bytes], place: int, bit: int
) -> None:
    export = bytearray(form(LONGER))
    export[place] ^= 1 << bit
    status, _ = run_on(bytes(export))
    assert status == expected_status(LONGER, bytes(export))


@given(forms, places, st.integers(0, 700), st.binary(max_size=8) | st.sampled_from(LONGER))
def test_main_notices_bytes_removed_and_put_in(
    form: Callable[[Sequence[bytes]], bytes], place: int, removed: int, put_in: bytes
) -> None:
    export = form(LONGER)
    export = export[:place] + put_in + export[place + removed :]
    status, _ = run_on(export)
    assert status == expected_status(LONGER, export)


def edit(entries: list[bytes], at: int, to: int) -> None:
    entries[at] = json.dumps(json.loads(entries[at]) | {"host": f"h{to}"}).encode()


def edit_and_rehash(entries: list[bytes], at: int, to: int) -> None:
    # Not the last one: that would be a rewritten tail, which links do not show.
    at = min(at, len(entries) - 2)
    entries[at] = json.dumps(rehashed(json.loads(entries[at]) | {"host": f"h{to}"})).encode()


def remove(entries: list[bytes], at: int, to: int) -> None:
    del entries[min(at, len(entries) - 2)]


def move(entries: list[bytes], at: int, to: int) -> None:
    entries.insert(to if to != at else (to + 1) % len(entries), entries.pop(at))


def swap(entries: list[bytes], at: int, to: int) -> None:
    other = to if to != at else (to + 1) % len(entries)
    entries[at], entries[other] = entries[other], entries[at]


def repeat(entries: list[bytes], at: int, to: int) -> None:
    entries.insert(to, entries[at])


def insert_other(entries: list[bytes], at: int, to: int) -> None:
    entries.insert(at, OTHER_HOSTS[to])


def splice_history(entries: list[bytes], at: int, to: int) -> None:
    entries[max(at, 1) :] = OTHER_HOSTS[max(at, 1) :]


def splice_tenant(entries: list[bytes], at: int, to: int) -> None:
    entries[max(at, 1) :] = OTHER_TENANT[to:]


def append_chain(entries: list[bytes], at: int, to: int) -> None:
    entries.extend(OTHER_TENANT[: to + 1])


@pytest.mark.parametrize(
    "change",
    [
        edit,
        edit_and_rehash,
        remove,
        move,
        swap,
        repeat,
        insert_other,
        splice_history,
        splice_tenant,
        append_chain,
    ],
)
@given(forms, st.integers(0, 5), st.integers(0, 5))
def test_main_notices_entries_that_were(
    change: Callable[[list[bytes], int, int], None],
    form: Callable[[Sequence[bytes]], bytes],
    at: int,
    to: int,
) -> None:
    entries = list(LONGER)
    change(entries, at, to)
    status, _ = run_on(form(entries))
    assert status == verify.TAMPERED


def test_main_notices_every_cut_of_an_array() -> None:
    export = array(ENTRIES)
    for length in range(1, len(export)):
        status, result = run_on(export[:length])
        assert (status, "cut short" in str(result["reason"])) == (verify.TAMPERED, True)


def test_main_notices_every_cut_of_lines_but_between_entries() -> None:
    export = lines(ENTRIES)
    ends = [len(lines(ENTRIES[:count])) for count in range(1, 4)]
    for length in range(1, len(export)):
        status, result = run_on(export[:length])
        whole = sum(end <= length + 1 for end in ends)
        if length in ends or length + 1 in ends:
            assert (status, result["entries"]) == (verify.NO_CHECKPOINT, whole)
        else:
            assert (status, result["entry"]) == (verify.TAMPERED, whole + 1)
            assert "cut short" in str(result["reason"])


def test_main_cannot_notice_a_rewrite_without_a_checkpoint() -> None:
    assert run_on(array(OTHER_HOSTS))[0] == verify.NO_CHECKPOINT


@settings(deadline=None)
@given(st.binary() | st.text('[]{}",:\\ \nu0e.-tnull\u2028\x00').map(str.encode))
def test_main_never_fails_on_any_bytes(export: bytes) -> None:
    status, result = run_on(export)
    if export.strip(b" \t\r\n") == b"":
        assert status == verify.USAGE
    elif result["result"] == "empty":
        assert (status, json.loads(export)) == (verify.NO_CHECKPOINT, [])
    else:
        assert status == verify.TAMPERED


@pytest.mark.parametrize(
    ("export", "reason"),
    [
        pytest.param(b'{"detail":"unauthorized"}', "lacks timestamp", id="reject_error_answer"),
        pytest.param(b"<html></html>", "not JSON", id="reject_html"),
        pytest.param(b"\xef\xbb\xbf" + array(ENTRIES), "not JSON", id="reject_byte_order_mark"),
        pytest.param(array(ENTRIES).decode().encode("utf-16"), "UTF-8", id="reject_utf_16"),
        pytest.param(b"[1]", "not a JSON object", id="reject_number"),
        pytest.param(b"[[]]", "not a JSON object", id="reject_nested_array"),
        pytest.param(b"[" * 100_000, "not a JSON object", id="reject_many_brackets"),
        pytest.param(b"[" + b'{"a":' * 100_000, "too deeply", id="reject_deep_nesting"),
        pytest.param(b"[" + b'{"a":[' * 20, "cut short", id="reject_cut_nesting"),
        pytest.param(b'[{"a":"' + b"x" * 10**6, "longer than", id="reject_endless_entry"),
        pytest.param(b'{"a":"' + b"x" * 10**6, "longer than", id="reject_endless_line"),
        pytest.param(b'[{"a":' + b"9" * 10**6, "beyond", id="reject_endless_number"),
        pytest.param(b"[{} {}]", "lacks timestamp", id="reject_empty_object"),
    ],
)
def test_main_refuses_hostile_input(export: bytes, reason: str) -> None:
    status, result = run_on(export)
    assert (status, reason in str(result["reason"])) == (verify.TAMPERED, True), result


@pytest.mark.parametrize(
    ("behind", "reason"),
    [
        pytest.param(b"", "cut short before", id="reject_nothing"),
        pytest.param(b",", "cut short before", id="reject_comma"),
        pytest.param(b",]", "not a JSON object", id="reject_comma_and_end"),
        pytest.param(b"}", "'}' is before it", id="reject_other_bracket"),
        pytest.param(b" " + ENTRIES[2] + b"]", "'{' is before it", id="reject_no_comma"),
        pytest.param(b"]]", "follows the end", id="reject_two_ends"),
        pytest.param(b"]" + array(ENTRIES), "follows the end", id="reject_two_arrays"),
        pytest.param(b"]\x00", "follows the end", id="reject_nul"),
        pytest.param(b"]" + b"\n" * 70_000 + b".", "follows the end", id="reject_far_behind"),
        pytest.param(b"]\xff", "UTF-8", id="reject_not_utf_8"),
        pytest.param(b"]\xc3", "cut short", id="reject_half_a_character"),
    ],
)
def test_main_refuses_what_follows_the_second_entry(behind: bytes, reason: str) -> None:
    status, result = run_on(b"[" + b",".join(ENTRIES[:2]) + behind)
    assert (status, result["entry"]) == (verify.TAMPERED, 3)
    assert reason in str(result["reason"])


def test_main_names_the_entry_that_is_not_utf_8() -> None:
    export = lines([*ENTRIES[:2], ENTRIES[2].replace(b"work", b"\xc3\x28")])
    _, result = run_on(export)
    assert (result["entry"], result["line"], result["reason"]) == (3, 3, "it is not UTF-8")


WITHOUT: Object = {
    "checkpoints": [],
    "checkpoint_problems": [],
    "forks": [],
    "proven": [],
    "not_proven": [verify.NOT_SHOWN],
}
"""What the verifier says of checkpoints without one."""


def write_days(directory: Path, days: Mapping[str, bytes]) -> str:
    for day, content in days.items():
        (directory / f"audit-{day}.jsonl").write_bytes(content)
    return str(directory)


BY_DAY = chain(9, step_s=DAY_S // 2)
"""Two entries a day, from a midnight on."""

DAYS = {
    "2024-01-01": lines(BY_DAY[0:2]),
    "2024-01-02": lines(BY_DAY[2:4]),
    "2024-01-03": lines(BY_DAY[4:6]),
    "2024-01-04": lines(BY_DAY[6:8]),
    "2024-01-05": lines(BY_DAY[8:9]),
}


def test_main_follows_the_chain_through_daily_files(tmp_path: Path) -> None:
    path = write_days(tmp_path, DAYS)
    (tmp_path / "verify_audit.py").write_text("not a daily file")
    (tmp_path / "audit-2024-01-06.jsonl.sig").write_text("not a daily file")
    status, result = run(path)
    assert (status, result["entries"]) == (verify.NO_CHECKPOINT, 9)
    assert result["last_hash"] == json.loads(BY_DAY[8])["hash"]


def test_main_takes_days_without_entries(tmp_path: Path) -> None:
    weekly = chain(3, step_s=7 * DAY_S)
    days = ("2024-01-01", "2024-01-08", "2024-01-15")
    path = write_days(
        tmp_path, {day: lines([entry]) for day, entry in zip(days, weekly, strict=True)}
    )
    assert run(path, "--links-only") == (
        verify.VERIFIED,
        {"status": 0, "result": "links hold", **vars(verify_entries(weekly)), **WITHOUT},
    )


@pytest.mark.parametrize(
    ("changes", "entry", "file", "reason"),
    [
        pytest.param({"2024-01-02": None}, 3, "03", "previous_hash", id="reject_missing_day"),
        pytest.param({"2024-01-01": None}, 1, "02", "64 zeros", id="reject_missing_first_day"),
        pytest.param({"2024-01-02": b""}, 3, "02", "emptied", id="reject_emptied_day"),
        pytest.param({"2024-01-05": b"\n"}, 9, "05", "emptied", id="reject_emptied_last_day"),
        pytest.param({"2024-01-05": b"[]"}, 9, "05", "emptied", id="reject_last_day_of_nothing"),
        pytest.param(
            {"2024-01-01": lines(BY_DAY[0:3]), "2024-01-02": lines(BY_DAY[3:4])},
            3, "01", "2024-01-02", id="reject_entry_in_the_day_before",
        ),
        pytest.param(
            {"2024-01-01": lines(BY_DAY[0:1]), "2024-01-02": lines(BY_DAY[1:4])},
            2, "02", "2024-01-01", id="reject_entry_in_the_day_after",
        ),
        pytest.param(
            {"2024-01-02": DAYS["2024-01-03"], "2024-01-03": DAYS["2024-01-02"]},
            3, "02", "previous_hash", id="reject_days_swapped",
        ),
        pytest.param(
            {"2024-01-03": DAYS["2024-01-03"][:-9]}, 6, "03", "cut short", id="reject_cut_day"
        ),
    ],
)  # fmt: skip
def test_main_notices_in_daily_files(
    tmp_path: Path, changes: Mapping[str, bytes | None], entry: int, file: str, reason: str
) -> None:
    days = {day: content for day, content in {**DAYS, **changes}.items() if content is not None}
    status, result = run(write_days(tmp_path, days))
    assert (status, result["entry"]) == (verify.TAMPERED, entry), result
    assert result["file"] == f"audit-2024-01-{file}.jsonl"
    assert reason in str(result["reason"])


@pytest.mark.parametrize("name", ["2024-02-30", "2024-1-1", "20240101", "", "2024-01-01 (1)"])
def test_main_refuses_a_daily_file_that_names_no_day(tmp_path: Path, name: str) -> None:
    status, result = run(write_days(tmp_path, {**DAYS, name: b""}))
    assert (status, result["reason"]) == (verify.TAMPERED, "the file is not named after a day")


def test_main_refuses_a_daily_file_that_cannot_be_read(tmp_path: Path) -> None:
    path = write_days(tmp_path, {"2024-01-01": DAYS["2024-01-01"]})
    (tmp_path / "audit-2024-01-02.jsonl").mkdir()
    status, result = run(path)
    assert (status, result["entry"]) == (verify.TAMPERED, 3)
    assert "cannot be read" in str(result["reason"])


def test_main_refuses_a_file_whose_reading_fails() -> None:
    # It can be opened, but not read at its first address.
    status, result = run("/proc/self/mem")
    assert (status, result["entry"]) == (verify.TAMPERED, 1)
    assert "cannot be read" in str(result["reason"])


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/does/not/exist", id="reject_no_such_file"),
        pytest.param("/does/not/exist/", id="reject_no_such_directory"),
        pytest.param("a\x00b", id="reject_nul"),
        pytest.param("\ud800", id="reject_lone_surrogate"),
        pytest.param("", id="reject_no_name"),
        pytest.param("{tmp_path}", id="reject_empty_directory"),
        pytest.param("/dev/null", id="reject_empty_file"),
    ],
)
def test_main_finds_nothing_to_check(tmp_path: Path, path: str) -> None:
    status, result = run(path.format(tmp_path=tmp_path), "--links-only")
    assert (status, result["result"]) == (verify.USAGE, "nothing to check")


@pytest.mark.parametrize(("given", "status"), [(array(ENTRIES), 3), (b"", 2)])
def test_main_reads_standard_input(
    monkeypatch: pytest.MonkeyPatch, given: bytes, status: int
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    assert run("-")[0] == status


def test_verify_audit_exits_0_only_when_no_more_was_asked() -> None:
    done = run_process("--links-only", "-", given=array(ENTRIES))
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode("ascii").splitlines() == [
        "3 entries of tenant 'acme-corp', stream actions",
        "first 2024-01-01T00:00:00Z, last 2024-01-01T00:00:02Z",
        f"last hash {json.loads(ENTRIES[2])['hash']}",
        "LINKS HOLD: every entry follows from the one before it",
        "NOT SHOWN without a checkpoint: that no entries were removed at the end, and that the "
        "chain was not replaced as a whole",
    ]


def test_verify_audit_exits_1_and_says_where_and_why(tmp_path: Path) -> None:
    export = tmp_path / "export \u00fc.ndjson"
    export.write_bytes(lines(ENTRIES).replace(b"workstation", b"workstatiom", 1))
    done = run_process("--links-only", str(export))
    assert (done.returncode, done.stderr) == (1, b"")
    first, second = done.stdout.decode("ascii").splitlines()
    assert first.startswith("TAMPERED WITH OR DAMAGED at entry 1 (")
    assert first.endswith(
        "export \\xfc.ndjson, line 1): its hash is not that of its content: it was changed"
    )
    assert second == "the links of the 0 entries before it hold"


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([], id="reject_no_arguments"),
        pytest.param(["a", "b"], id="reject_two_paths"),
        pytest.param(["--links", "-"], id="reject_abbreviation"),
        pytest.param(["--checkpoint", "-"], id="reject_unknown_option"),
        pytest.param(["/does/not/exist"], id="reject_no_such_file"),
        pytest.param(["--links-only", "/does/not/exist"], id="reject_no_such_file_links_only"),
        pytest.param(["{tmp_path}"], id="reject_empty_directory"),
        pytest.param(["--links-only", "/dev/null"], id="reject_empty_file"),
    ],
)
def test_verify_audit_exits_2_when_nothing_was_checked(
    tmp_path: Path, arguments: list[str]
) -> None:
    filled = [argument.format(tmp_path=tmp_path) for argument in arguments]
    done = run_process(*filled, given=array(ENTRIES))
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"Traceback" not in done.stderr


def test_verify_audit_exits_2_on_empty_standard_input() -> None:
    done = run_process("--links-only", "-", given=b"\n")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"NOT CHECKED: 'standard input' is empty\n"


def test_verify_audit_exits_3_without_a_checkpoint(tmp_path: Path) -> None:
    path = write_days(tmp_path, DAYS)
    done = run_process(path)
    assert (done.returncode, done.stderr) == (3, b"")
    assert b"NOT SHOWN without a checkpoint" in done.stdout


@pytest.mark.parametrize(("options", "status"), [([], 3), (["--links-only"], 0)])
def test_verify_audit_says_that_an_export_is_empty(options: list[str], status: int) -> None:
    done = run_process(*options, "-", given=b"[]\n")
    assert done.returncode == status
    assert done.stdout.startswith(b"EMPTY: 0 entries")
    assert b"LINKS HOLD" not in done.stdout


def test_verify_audit_prints_one_json_object() -> None:
    held = run_process("--json", "-", given=lines(ENTRIES))
    assert json.loads(held.stdout) == {
        "status": 3,
        "result": "links hold",
        "entries": 3,
        "stream": "actions",
        "tenant_id": "acme-corp",
        "first_timestamp": START,
        "last_timestamp": START + 2,
        "last_hash": json.loads(ENTRIES[2])["hash"],
        "first_entry": 1,
        "archived_by": None,
        "retained": None,
        **WITHOUT,
    }
    tampered = run_process("--json", "-", given=lines(ENTRIES[1:]))
    assert json.loads(tampered.stdout) == {
        "status": 1,
        "result": "tampered",
        "entry": 1,
        "file": "standard input",
        "line": 1,
        "reason": "its previous_hash is not 64 zeros: the beginning of the chain is missing",
    }
    missing = run_process("--json", "/does/not/exist")
    assert (missing.returncode, missing.stderr) == (2, b"")
    assert json.loads(missing.stdout)["result"] == "nothing to check"


def test_verify_audit_drives_no_terminal() -> None:
    members = {**action(0), "tenant_id": "\x1b[2J\u202e\x9b"}
    done = run_process("-", given=seal(members, GENESIS, START).json)
    assert done.returncode == 3
    assert b"tenant '\\x1b[2J\\u202e\\x9b'" in done.stdout


def test_verify_audit_survives_a_closed_standard_input() -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "{sys.executable}" -I "{VERIFIER}" - <&-'],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (2, b"NOT CHECKED: standard input is closed\n")


def test_verify_audit_is_one_file_for_python_3_9_and_its_standard_library() -> None:
    source = VERIFIER.read_text("utf-8")
    assert source == Path(verify.__file__).read_text("utf-8")
    tree = ast.parse(source, feature_version=(3, 9))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(node.module or "")
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names


@pytest.mark.parametrize("name", ["fifo", "audit-2024-01-06.jsonl"])
def test_verify_audit_reads_no_pipe_contract_48(tmp_path: Path, name: str) -> None:
    """Reading a pipe could block, or never end."""
    path = write_days(tmp_path, DAYS)
    os.mkfifo(tmp_path / name)
    done = run_process(str(tmp_path / name) if name == "fifo" else path)
    assert done.returncode == (2 if name == "fifo" else 1)
    assert b"not a regular file" in done.stdout + done.stderr


def test_verify_audit_follows_no_link_among_daily_files_contract_48(tmp_path: Path) -> None:
    path = write_days(tmp_path, DAYS)
    last = tmp_path / "audit-2024-01-05.jsonl"
    moved = tmp_path / "moved"
    last.rename(moved)
    last.symlink_to(moved)
    assert run_process(path).returncode == 1


@pytest.mark.parametrize("flags", [["-I"], [], ["-P"]], ids=["isolated", "plain", "safe_path"])
def test_verify_audit_imports_nothing_that_lies_beside_it_contract_48(
    tmp_path: Path, flags: list[str]
) -> None:
    path = write_days(tmp_path, {**DAYS, "2024-01-01": b""})
    verifier = tmp_path / "verify_audit.py"
    verifier.write_bytes(VERIFIER.read_bytes())
    for name in ("argparse", "calendar", "hashlib", "json", "typing", "errno"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(0)")
    command = [sys.executable, *flags, str(verifier), "--links-only", path]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert done.returncode == 1
    assert b"TAMPERED" in done.stdout
