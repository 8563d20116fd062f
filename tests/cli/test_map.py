"""`vyrox map`: how a payload becomes an alert, without a service (contract 73)."""

import gzip
from pathlib import Path

import msgspec
import pytest

from tests.adapters.payloads import CROWDSTRIKE
from tests.cli import Vyrox, refused, succeeded
from tests.cli.test_queue import FIELD_MAP, GOOD, onboard, quarantine
from vyrox.alerts.quarantine_review import list_quarantined
from vyrox.models import Vendor
from vyrox.tenants.mapping import Mapped

DATA = Path(__file__).parent.parent / "data"


@pytest.fixture
def vyrox(tmp_path: Path) -> Vyrox:
    """The command without a service and without a database."""
    return Vyrox(tmp_path / "nothing")


@pytest.fixture
def stored(data_dir: Path) -> Vyrox:
    return Vyrox(data_dir)


def written(tmp_path: Path, content: bytes, name: str = "payload.json") -> str:
    file = tmp_path / name
    file.write_bytes(content)
    return str(file)


def mapped(vyrox: Vyrox, *args: str, exit_code: int = 0) -> list[Mapped]:
    result = vyrox("map", "test", "--json", *args)
    assert result.exit_code == exit_code, result.output
    return msgspec.json.decode(result.stdout, type=list[Mapped])


def quarantined_id(vyrox: Vyrox, raw: bytes, source: Vendor = "generic") -> str:
    quarantine(vyrox, raw, source=source)
    [row] = vyrox.write(list_quarantined, "acme")
    return row.id


def test_test_shows_each_field_its_source_and_what_is_missing_contract_73(
    vyrox: Vyrox, tmp_path: Path
) -> None:
    file = written(tmp_path, CROWDSTRIKE)
    shown = succeeded(vyrox("map", "test", file, "--vendor", "crowdstrike"))
    rows = [line.split() for line in shown.splitlines()]
    assert ["hostname", "workstation-01", "sensor.hostname"] in rows
    assert "not in the payload: vendor_group, process_id" in shown
    assert not (tmp_path / "nothing").exists()


def test_test_takes_each_alert_of_a_response_contract_73(vyrox: Vyrox) -> None:
    file = str(DATA / "crowdstrike-7.json")
    found = mapped(vyrox, file, "--vendor", "crowdstrike")
    assert {each.status for each in found} == {"alert"}
    assert len(found) > 1
    assert found[0].customer_ids == ["01010101010101010101010101010101"]
    assert not found[0].documented
    assert "payload 2" in vyrox("map", "test", file, "--vendor", "crowdstrike").stdout


def test_test_says_what_is_ignored_and_what_is_refused_contract_73(
    vyrox: Vyrox, tmp_path: Path
) -> None:
    audit = b'{"metadata":{"eventType":"UserActivityAuditEvent"},"event":{"x":1}}'
    [ignored] = mapped(vyrox, written(tmp_path, audit), "--vendor", "crowdstrike")
    assert (ignored.status, ignored.reason) == ("ignored", "UserActivityAuditEvent")
    file = written(tmp_path, b'{"unknown":1,"b\\u001b":2}')
    [wrong] = mapped(vyrox, file, "--vendor", "crowdstrike", exit_code=1)
    assert wrong.reason == "not a known form of crowdstrike (its members: unknown, b\x1b)"
    text = vyrox("map", "test", file, "--vendor", "crowdstrike")
    assert text.exit_code == 1
    assert "\x1b" not in text.stdout
    [broken] = mapped(vyrox, written(tmp_path, b"{"), "--vendor", "defender", exit_code=1)
    assert broken.status == "refused"


def test_test_shows_what_a_field_map_finds_where_it_fails_contract_73(
    vyrox: Vyrox, tmp_path: Path
) -> None:
    paths = {**FIELD_MAP, "vendor_severity": "$.level", "username": "host.name", "sha256": "list"}
    field_map = written(tmp_path, msgspec.json.encode(paths), "map.json")
    file = written(tmp_path, b'{"id":"1","host":"ws-1","level":"high","list":[1]}')
    args = ("map", "test", file, "--vendor", "generic", "--field-map", field_map)
    result = vyrox(*args, "--json")
    assert result.exit_code == 1
    [found] = msgspec.json.decode(result.stdout, type=list[Mapped])
    shown = {row.field: (row.value, row.sources, row.error) for row in found.fields}
    assert shown["raw_id"] == ("1", ["id"], None)
    assert shown["vendor_severity"] == (None, ["$.level"], None)
    assert shown["username"] == (None, ["host.name"], None)
    assert shown["sha256"] == (None, ["list"], "sha256: expected text or a number")
    assert "vendor_severity: required" in (found.reason or "")
    assert "vendor_severity: $.level looks like JSONPath" in result.stderr
    assert "here perhaps level" in result.stderr


@pytest.mark.parametrize(
    ("path", "plain"),
    [("$.id", "id"), ("$['a'][0].b", "a.0.b"), ("list[*].id", "list.*.id"), ("@.x", "x")],
)
def test_a_path_that_looks_like_json_path_is_a_warning_contract_73(
    stored: Vyrox, tmp_path: Path, path: str, plain: str
) -> None:
    field_map = written(tmp_path, msgspec.json.encode({**FIELD_MAP, "raw_id": path}))
    added = stored("tenant", "add", "acme", "--vendor", "generic", "--field-map", field_map)
    assert added.exit_code == 0
    assert f"raw_id: {path} looks like JSONPath" in added.stderr
    assert f"here perhaps {plain}\n" in added.stderr


@pytest.mark.parametrize("path", ["id", "a.b", "@timestamp", "price$", "a.0.b", "$"])
def test_other_paths_are_no_warning(stored: Vyrox, tmp_path: Path, path: str) -> None:
    field_map = written(tmp_path, msgspec.json.encode({**FIELD_MAP, "raw_id": path}))
    added = stored("tenant", "add", "acme", "--vendor", "generic", "--field-map", field_map)
    assert ("JSONPath" in added.stderr) == (path == "$")


def test_both_take_a_quarantined_payload_contract_73(stored: Vyrox) -> None:
    onboard(stored, FIELD_MAP)
    id_ = quarantined_id(stored, GOOD)
    [found] = mapped(stored, "--quarantined", id_)
    assert found.alert is not None
    assert (found.alert.tenant_id, found.alert.raw_id) == ("acme", "evt:1")
    suggested = succeeded(stored("map", "suggest", "--quarantined", id_))
    assert msgspec.json.decode(suggested) == FIELD_MAP
    assert "no tenant has" in refused(stored("map", "test", "--quarantined", "unknown"))


def test_suggest_prints_a_map_that_test_takes_contract_73(vyrox: Vyrox, tmp_path: Path) -> None:
    file = written(tmp_path, GOOD)
    printed = succeeded(vyrox("map", "suggest", file))
    field_map = written(tmp_path, printed.encode(), "map.json")
    [found] = mapped(vyrox, file, "--vendor", "generic", "--field-map", field_map)
    assert found.status == "alert"
    lacking = vyrox("map", "suggest", written(tmp_path, b'{"id":1}'))
    assert lacking.exit_code == 1
    assert "hostname is required" in lacking.stderr


def test_lines_and_compressed_payloads_are_read_as_on_the_path_contract_73(
    vyrox: Vyrox, tmp_path: Path
) -> None:
    file = written(tmp_path, gzip.compress(GOOD + b"\n" + GOOD, 0))
    printed = succeeded(vyrox("map", "suggest", file))
    field_map = written(tmp_path, printed.encode(), "map.json")
    found = mapped(vyrox, file, "--vendor", "generic", "--field-map", field_map)
    assert [each.status for each in found] == ["alert", "alert"]


def test_odd_arguments_are_refused(vyrox: Vyrox, tmp_path: Path) -> None:
    file = written(tmp_path, GOOD)
    for args in (
        [],
        [file],
        [file, "--quarantined", "x"],
        [file, "--vendor", "generic"],
        [file, "--vendor", "defender", "--field-map", file],
    ):
        assert vyrox("map", "test", *args).exit_code in {1, 2}
