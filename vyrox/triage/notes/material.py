"""What a language model sees of an incident: its strongest alerts, redacted, of bounded size."""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.alerts.queue import decode_alert
from vyrox.models import NormalizedAlert
from vyrox.store.tables import alerts, verdicts
from vyrox.triage.incidents import Incident
from vyrox.triage.notes.redaction import Persons, masked
from vyrox.triage.score import Verdict

MAX_ALERTS: Final = 12
MAX_REASONS: Final = 6
MAX_NAME: Final = 120

_verdict: Final = msgspec.json.Decoder(Verdict)
_encoder: Final = msgspec.json.Encoder()


class SeenAlert(msgspec.Struct, frozen=True):
    """One alert. `after_s` is the time since the first one."""

    after_s: int
    host: str | None
    user: str | None
    program: str | None
    command_line: str | None
    vendor_severity: str | None
    technique: str | None
    reasons: list[str]


class Material(msgspec.Struct, frozen=True):
    """All that is sent of an incident."""

    band: str
    hosts: list[str]
    alerts: list[SeenAlert]

    def texts(self) -> Iterator[str]:
        """Yield every text, for the check of quotes."""
        yield from self.hosts
        for alert in self.alerts:
            yield from alert.reasons
            for text in (alert.host, alert.user, alert.program, alert.command_line):
                if text is not None:
                    yield text
            for text in (alert.vendor_severity, alert.technique):
                if text is not None:
                    yield text

    def encoded(self) -> bytes:
        """Return it as JSON."""
        return _encoder.encode(self)

    def digest(self) -> str:
        """Return what is the same for the same material."""
        return sha256(self.encoded()).hexdigest()


def material_of(connection: Connection, incident: Incident) -> Material:
    """Return what is sent of `incident`."""
    judged = _read(connection, incident)
    persons = Persons(
        [*incident.story.users, *(alert.username for alert, _ in judged)],
        [alert.process_cmdline for alert, _ in judged],
    )
    first = min((alert.timestamp for alert, _ in judged), default=0.0)
    return Material(
        incident.band,
        sorted(persons.hidden(masked(name))[:MAX_NAME] for name in incident.story.names[:8]),
        [_seen(alert, verdict, persons, first) for alert, verdict in judged],
    )


def _read(connection: Connection, incident: Incident) -> Sequence[tuple[NormalizedAlert, Verdict]]:
    """Return the alerts that carry the signs of the story; the first ones if it has none."""
    a, v = alerts.c, verdicts.c
    signs = sorted(incident.story.signs.values(), key=lambda each: (-each.weight, each.signal))
    ids = list(dict.fromkeys(each.alert_id for each in signs))[:MAX_ALERTS]
    query = sa.select(a.alert, v.verdict).join(verdicts, v.alert_id == a.id)
    query = query.where(v.tenant_id == incident.tenant_id, v.incident == incident.number)
    if ids:
        query = query.where(v.alert_id.in_(ids))
    query = query.order_by(v.happened_at, v.alert_id).limit(MAX_ALERTS)
    return [
        (decode_alert(alert), _verdict.decode(verdict))
        for alert, verdict in connection.execute(query)
    ]


def _seen(alert: NormalizedAlert, verdict: Verdict, persons: Persons, first: float) -> SeenAlert:
    def text(value: str | None, longest: int = MAX_NAME) -> str | None:
        return None if value is None else persons.hidden(masked(value))[:longest]

    strongest = sorted(verdict.reasons, key=lambda each: (-each.weight, each.signal))[:MAX_REASONS]
    return SeenAlert(
        after_s=round(alert.timestamp - first),
        host=text(alert.hostname),
        user=persons.name(alert.username),
        program=text(alert.process_name),
        command_line=text(alert.process_cmdline, 1000),
        vendor_severity=text(alert.vendor_severity),
        technique=text(alert.technique),
        reasons=[f"{each.signal}: {text(each.text)}" for each in strongest],
    )
