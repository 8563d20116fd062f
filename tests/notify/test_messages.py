"""What a notification says: our own form, and OCSF (contract 58)."""

import re
from typing import Final, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from py_ocsf_models import OCSF_VERSION
from py_ocsf_models.events.findings.detection_finding import DetectionFinding

from tests.audit import NOW, TENANT
from tests.notify.samples import announcement
from vyrox.models import NormalizedAlert
from vyrox.notify.messages import Digest, Message, Notice, Probe, clean
from vyrox.notify.ocsf import AlertFinding, to_ocsf
from vyrox.notify.outbox import encode
from vyrox.notify.signature import key_of, make_secret
from vyrox.notify.targets import Format

DIGEST = Digest(tenant_id=TENANT, at=NOW, since=NOW - 3600, more=12, incidents=(1, 2, 3))
PROBE = Probe(tenant_id=TENANT, at=NOW)
NOTICE = Notice(
    tenant_id=TENANT, kind="lease.ending", at=NOW, text="ws-01 ends soon", link="/approvals/p"
)
ALERT = NormalizedAlert(
    id="11111111-1111-4111-8111-111111111111",
    tenant_id=TENANT,
    source="crowdstrike",
    raw_id="ldt:1",
    timestamp=NOW - 5,
    hostname="ws-01",
    device_id="d-1",
    username="CORP\\jsmith",
    process_name="rundll32.exe",
    process_cmdline="rundll32 comsvcs.dll, MiniDump 624 a.dmp full",
    sha256="ab" * 32,
    tactic="Credential Access",
    technique="T1003.001",
    vendor_severity="HIGH",
    severity="high",
)
BARE = NormalizedAlert(id="2", tenant_id=TENANT, source="generic", raw_id="1", timestamp=NOW)
FINDINGS = [
    pytest.param(announcement("opened"), id="opened"),
    pytest.param(announcement("updated", band="review", hosts=()), id="updated"),
    pytest.param(announcement("reminder"), id="reminder"),
    pytest.param(DIGEST, id="digest"),
    pytest.param(PROBE, id="test"),
    pytest.param(NOTICE, id="notice"),
    pytest.param(
        AlertFinding(
            alert=ALERT, received_at=NOW, score=91.5, band="urgent", reasons=("r",), incident=7
        ),
        id="alert",
    ),
    pytest.param(AlertFinding(alert=BARE, received_at=NOW), id="bare_alert"),
]

NOT_IN_THE_ORACLE = {"is_alert"}
"""Members of the schema that the oracle does not know yet."""


@pytest.mark.parametrize("finding", FINDINGS)
def test_ocsf_finding_is_one_to_the_oracle_contract_58(finding: Message | AlertFinding) -> None:
    ours = to_ocsf(finding)
    parsed = DetectionFinding.model_validate(ours)
    theirs = parsed.model_dump(mode="json", exclude_none=True, exclude_unset=True)
    # The oracle drops what it does not know: nothing may be missing.
    assert {**theirs, **{name: ours[name] for name in NOT_IN_THE_ORACLE}} == ours
    assert parsed.metadata.version == OCSF_VERSION
    assert ours["type_uid"] == 200_400 + parsed.activity_id


def test_ocsf_of_an_alert_contract_58() -> None:
    finding = to_ocsf(AlertFinding(alert=ALERT, received_at=NOW, incident=7))
    info = finding["finding_info"]
    assert isinstance(info, dict)
    assert info["attacks"] == [
        {
            "tactic": {"name": "Credential Access"},
            "technique": {"uid": "T1003", "name": "T1003.001"},
            "sub_technique": {"uid": "T1003.001"},
        }
    ]
    assert (finding["severity_id"], finding["time"]) == (4, round(NOW * 1000))
    assert finding["resources"] == [{"type": "host", "name": "ws-01", "uid": "d-1"}]
    incident = to_ocsf(announcement())["finding_info"]
    assert isinstance(incident, dict)
    assert finding["metadata"]["correlation_uid"] == incident["uid"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (announcement("opened"), "incident.opened"),
        (announcement("updated"), "incident.updated"),
        (announcement("reminder"), "incident.reminder"),
        (DIGEST, "incident.digest"),
        (PROBE, "test"),
    ],
)
def test_own_form_names_its_type_contract_58(message: Message, kind: str) -> None:
    decoded = msgspec.json.decode(encode(message, "vyrox"))
    assert (decoded["type"], decoded["tenant_id"]) == (kind, TENANT)
    assert msgspec.json.decode(encode(message, "vyrox"), type=Message) == message


FORMATS: Final[tuple[Format, ...]] = get_args(Format)
HOSTILE = st.text(max_size=2000)
UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


@given(HOSTILE, st.lists(HOSTILE, max_size=12))
def test_texts_of_an_attacker_are_bounded_and_visible_contract_58(
    text: str, hosts: list[str]
) -> None:
    message = announcement(title=text, hosts=tuple(hosts))
    for form in FORMATS:
        body = encode(message, form)
        assert len(body) <= 64 * 1024
        assert not UNSEEN.search(body.decode().replace("\\n", ""))


def test_text_is_cleaned_contract_58() -> None:
    assert clean("a\u202eb\x1b[31m\u200bc\nd\x00") == "ab[31mc d"
    assert clean("x" * 301) == "x" * 299 + "…"
    assert clean("\ud800a") == "a"


def test_secret_of_the_standard_is_accepted_and_no_other_contract_58() -> None:
    assert len(key_of(make_secret())) == 32
    for bad in ("", "whsec_", "whsec_!!", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_YWJj"):
        with pytest.raises(ValueError, match="must be whsec_ and Base64"):
            key_of(bad)
