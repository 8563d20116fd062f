"""Alerts and incidents as OCSF Detection Findings, the form that security pipelines read. Pure.

Source:
    Open Cybersecurity Schema Framework 1.5.0, class 2004 (Detection Finding).
"""

import re
from importlib.metadata import version
from typing import Final

import msgspec

from vyrox.models import NormalizedAlert, Severity
from vyrox.notify.messages import (
    MAX_REASONS,
    Band,
    Digest,
    IncidentMessage,
    Notice,
    Opened,
    Probe,
    Status,
    clean,
    cleaned,
)

SCHEMA_VERSION: Final = "1.5.0"

CLASS_UID: Final = 2004

MAX_COMMAND_LINE: Final = 4096
"""Characters of a command line in a finding."""

Json = dict[str, object]

_PRODUCT: Final = {"name": "Vyrox", "vendor_name": "Vyrox", "version": version("vyrox")}

_CREATE: Final = 1
_UPDATE: Final = 2
_CLOSE: Final = 3

_INFORMATIONAL: Final = 1
_SEVERITIES: Final[dict[Severity, int]] = {
    "unknown": 0,
    "info": _INFORMATIONAL,
    "low": 2,
    "medium": 3,
    "high": 4,
    "critical": 5,
}
_OF_BAND: Final[dict[Band, Severity]] = {"close": "low", "review": "medium", "urgent": "critical"}
_STATUSES: Final[dict[Status, int]] = {"open": 1, "acknowledged": 2, "closed": 4}
_RISK_LEVELS: Final[dict[Band, int]] = {"close": 1, "review": 2, "urgent": 4}

_HOSTNAME: Final = 1
_USER_NAME: Final = 4
_HASH: Final = 8
_PROCESS_NAME: Final = 9

_TECHNIQUE: Final = re.compile(r"\b(T\d{4})(\.\d{3})?\b")
_TACTIC: Final = re.compile(r"TA\d{4}")


class AlertFinding(msgspec.Struct, frozen=True, kw_only=True):
    """One alert and its verdict. Without a verdict, `band` is None.

    Attributes:
        received_at: Unix seconds.
        reasons: Texts, the strongest first.
        incident: The tenant's own number of the incident that it belongs to.
    """

    alert: NormalizedAlert
    received_at: float
    score: float | None = None
    band: Band | None = None
    reasons: tuple[str, ...] = ()
    incident: int | None = None


def to_ocsf(finding: AlertFinding | IncidentMessage | Digest | Probe | Notice) -> Json:
    """Return `finding` as a Detection Finding, ready to be encoded as JSON."""
    match finding:
        case AlertFinding():
            return _alert(finding)
        case IncidentMessage():
            return _incident(finding)
        case Digest():
            return _digest(finding)
        case Probe():
            return _probe(finding)
        case Notice():
            return _approvers_notice(finding)


def _alert(finding: AlertFinding) -> Json:
    alert = finding.alert
    reasons = [clean(reason) for reason in finding.reasons[:MAX_REASONS]]
    title = clean(f"{alert.process_name or alert.source} on {_host(alert) or 'an unknown host'}")
    incident = finding.incident
    evidence: Json = {
        "process_name": _text(alert.process_name),
        "command_line": _text(alert.process_cmdline, MAX_COMMAND_LINE),
        "user": _text(alert.username),
        "sha256": _text(alert.sha256),
    }
    return _finding(
        tenant_id=alert.tenant_id,
        at=finding.received_at,
        activity=_CREATE,
        severity=alert.severity,
        info={
            "uid": alert.id,
            "title": title,
            "desc": "\n".join(reasons) or None,
            "created_time": _ms(finding.received_at),
            "first_seen_time": _ms(alert.timestamp),
            "last_seen_time": _ms(alert.timestamp),
            "attacks": _attacks(alert),
            "data_sources": [alert.source],
        },
        correlation=None if incident is None else _incident_uid(alert.tenant_id, incident),
        risk=_risk(finding.score, finding.band),
        observables=[
            *_observables("resources.name", _HOSTNAME, alert.hostname),
            *_observables("evidences.data.user", _USER_NAME, alert.username),
            *_observables("evidences.data.process_name", _PROCESS_NAME, alert.process_name),
            *_observables("evidences.data.sha256", _HASH, alert.sha256),
        ],
        resources=_resources(alert.hostname, alert.device_id),
        evidences=[{"data": known}] if (known := _without_none(evidence)) else None,
        unmapped={
            "vendor": alert.source,
            "vendor_id": clean(alert.raw_id),
            "vendor_severity": _text(alert.vendor_severity),
            "vendor_group": _text(alert.vendor_group),
            "band": finding.band,
        },
    )


def _incident(message: IncidentMessage) -> Json:
    message = cleaned(message)
    action = message.proposed_action
    proposal = f"{action.action_type or 'no action'}: {action.reason}"
    is_first = isinstance(message, Opened)
    activity = _CLOSE if message.status == "closed" else _CREATE if is_first else _UPDATE
    return _finding(
        tenant_id=message.tenant_id,
        at=message.at,
        activity=activity,
        severity=_OF_BAND[message.band],
        status_id=_STATUSES[message.status],
        count=message.alerts,
        start_time=_ms(message.first_at),
        end_time=_ms(message.last_at),
        info={
            "uid": _incident_uid(message.tenant_id, message.incident),
            "title": message.title,
            "desc": "\n".join(message.reasons) or None,
            "created_time": _ms(message.at) if is_first else None,
            "first_seen_time": _ms(message.first_at),
            "last_seen_time": _ms(message.last_at),
        },
        risk=_risk(message.score, message.band),
        observables=[
            *(
                each
                for host in message.hosts
                for each in _observables("resources.name", _HOSTNAME, host)
            ),
            *_observables("user", _USER_NAME, message.user),
        ],
        resources=[each for host in message.hosts for each in _resources(host, None)],
        remediation={"desc": proposal},
        unmapped={
            "type": type(message).__struct_config__.tag,
            "band": message.band,
            "proposed_action": msgspec.to_builtins(action),
            "open_with": message.open_with,
        },
    )


def _digest(digest: Digest) -> Json:
    return _notice(
        digest,
        f"and {digest.more} more incidents",
        f"{digest.tenant_id}/digest/{int(digest.since)}",
        incidents=list(digest.incidents),
    )


def _probe(probe: Probe) -> Json:
    return _notice(probe, probe.text, f"{probe.tenant_id}/test/{int(probe.at)}")


def _approvers_notice(notice: Notice) -> Json:
    uid = f"{notice.tenant_id}/{notice.kind}/{_ms(notice.at)}"
    return _notice(notice, notice.text, uid, kind=notice.kind, link=notice.link)


def _notice(message: Digest | Probe | Notice, title: str, uid: str, **more: object) -> Json:
    return _finding(
        tenant_id=message.tenant_id,
        at=message.at,
        activity=_CREATE,
        severity="info",
        info={"uid": uid, "title": clean(title)},
        unmapped={"type": type(message).__struct_config__.tag, **more},
    )


def _finding(
    *,
    tenant_id: str,
    at: float,
    activity: int,
    severity: Severity,
    info: Json,
    unmapped: Json,
    correlation: str | None = None,
    risk: Json | None = None,
    **more: object,
) -> Json:
    finding: Json = {
        "category_uid": 2,
        "category_name": "Findings",
        "class_uid": CLASS_UID,
        "class_name": "Detection Finding",
        "activity_id": activity,
        "type_uid": CLASS_UID * 100 + activity,
        "time": _ms(at),
        "severity_id": _SEVERITIES[severity],
        "message": info["title"],
        "is_alert": _SEVERITIES[severity] != _INFORMATIONAL,
        "metadata": _without_none(
            {
                "version": SCHEMA_VERSION,
                "product": _PRODUCT,
                "tenant_uid": tenant_id,
                "correlation_uid": correlation,
            }
        ),
        "finding_info": _without_none(info),
        "unmapped": _without_none(unmapped),
        **(risk or {}),
    }
    # An empty list says no more than a missing one.
    return finding | {name: value for name, value in more.items() if value not in (None, [])}


def _without_none(members: Json) -> Json:
    return {name: value for name, value in members.items() if value not in (None, [])}


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _incident_uid(tenant_id: str, number: int) -> str:
    return f"{tenant_id}/incident/{number}"


def _risk(score: float | None, band: Band | None) -> Json:
    if score is None or band is None:
        return {}
    return {"risk_score": round(score), "risk_level_id": _RISK_LEVELS[band]}


def _host(alert: NormalizedAlert) -> str | None:
    return alert.hostname or alert.device_id


def _text(text: str | None, max_chars: int = 300) -> str | None:
    return clean(text, max_chars) or None if text else None


def _observables(name: str, type_id: int, value: str | None) -> list[Json]:
    text = _text(value)
    return [] if text is None else [{"name": name, "type_id": type_id, "value": text}]


def _resources(hostname: str | None, device_id: str | None) -> list[Json]:
    resource = _without_none({"name": _text(hostname), "uid": _text(device_id)})
    return [{"type": "host", **resource}] if resource else []


def _attacks(alert: NormalizedAlert) -> list[Json]:
    attack: Json = {}
    tactic = _text(alert.tactic)
    if tactic is not None:
        attack["tactic"] = {"uid" if _TACTIC.fullmatch(tactic) else "name": tactic}
    if (text := _text(alert.technique)) and (found := _TECHNIQUE.search(text)):
        attack["technique"] = {"uid": found[1], "name": text}
        if found[2]:
            attack["sub_technique"] = {"uid": found[0]}
    return [attack] if attack else []
