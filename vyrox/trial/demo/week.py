"""A week of made-up history: real payloads, judged by the real service, whose clock is set back."""

import time
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import uuid4

import httpx
import msgspec

from vyrox.errors import OperatorError
from vyrox.models import Vendor
from vyrox.trial.demo.channel import Channel
from vyrox.trial.demo.clock import SharedClock
from vyrox.trial.demo.happenings import Sent, happenings
from vyrox.trial.demo.onboarding import APPROVER
from vyrox.trial.demo.servers import Log
from vyrox.trial.demo.terminal import Terminal
from vyrox.trial.simulate.request import SignedRequest, build_request
from vyrox.trial.simulate.sending import posted
from vyrox.trial.simulate.stages import Scenario

DAYS: Final = 7

QUIET_S: Final = 5 * 3600.0
"""The history ends so long before the present: longer than alerts of one host stay together."""

BETWEEN_S: Final = 70.0
"""Between two stages of one run."""

ARRIVES_AFTER_S: Final = 4.0
LEASE_S: Final = 4 * 3600.0
EXPIRES_AFTER_S: Final = 900.0
JUDGED_WITHIN_S: Final = 30.0
PAUSE_S: Final = 0.02

_NOT_AN_ALERT: Final = b'{"eventType":"AgentHeartbeat","accountId":"acme-corp","agents":412}'


class _Queued(msgspec.Struct, frozen=True):
    alert_id: str


class _Listed(msgspec.Struct, frozen=True):
    id: str


class _Alerts(msgspec.Struct, frozen=True):
    alerts: list[_Listed]


class _Incident(msgspec.Struct, frozen=True):
    id: str
    band: str


class _Incidents(msgspec.Struct, frozen=True):
    incidents: list[_Incident]


class Sender:
    """Sends detections to the webhooks, signed as the vendors sign."""

    def __init__(self, terminal: Terminal, tenant_id: str, secrets: dict[Vendor, str]) -> None:
        """`secrets` has the secret of each vendor at the tenant."""
        self._url = terminal.env["VYROX_URL"]
        self._tenant_id = tenant_id
        self._secrets = secrets

    def send(self, scenario: Scenario, stage: int, at: float) -> str:
        """Send a stage that happened at a time; return the alert's id. Raises OperatorError."""
        secret = self._secrets[scenario.vendor]
        request = build_request(
            scenario, stage, self._tenant_id, secret, self._url, now=at, new_id=uuid4()
        )
        return msgspec.json.decode(self._post(request, httpx.codes.ACCEPTED), type=_Queued).alert_id

    def send_what_is_no_alert(self) -> None:
        """Send a payload that goes to quarantine. Raises OperatorError."""
        headers = {"Authorization": f"Bearer {self._secrets['sentinelone']}"}
        headers["Content-Type"] = "application/json"
        request = SignedRequest("POST", f"{self._url}/sentinelone", headers, _NOT_AN_ALERT)
        self._post(request, httpx.codes.UNPROCESSABLE_ENTITY)

    def _post(self, request: SignedRequest, wanted: int) -> bytes:
        with httpx.Client(trust_env=False, timeout=10) as client:
            response = posted(client, request)
        if response.status_code != wanted:
            raise OperatorError(f"{request.url}: {response.status_code} {response.text}")
        return response.content


class Week:
    """The week before the demo, at a service that goes by `clock`."""

    def __init__(
        self, terminal: Terminal, sender: Sender, clock: SharedClock, log: Log, channel: Channel
    ) -> None:
        """`log` is the service's."""
        self._terminal = terminal
        self._sender = sender
        self._clock = clock
        self._log = log
        self._channel = channel
        self._lease_ends: list[float] = []

    def play(self, until: float) -> int:
        """Send what happened until a time, and do what Jane did. Return the number of alerts.

        Raises:
            OperatorError: The service did not do what it must.
        """
        count = 0
        for each in happenings(first_day(until), until - QUIET_S):
            self._advance(each.at)
            ids = self._send(each)
            count += len(ids)
            self._decide(each)
            self._close(each, ids)
            self._channel.wait_for_none()
        self._sender.send_what_is_no_alert()
        self._advance(until - QUIET_S + LEASE_S)
        return count

    def _send(self, sent: Sent) -> list[str]:
        ids: list[str] = []
        for stage in range(1, len(sent.scenario.stages) + 1):
            at = sent.at + (stage - 1) * BETWEEN_S
            self._clock.set_to(at + ARRIVES_AFTER_S)
            ids.append(self._sender.send(sent.scenario, stage, at))
        wait_until_judged(self._terminal)
        return ids

    def _advance(self, to: float) -> None:
        """Set the clock; leases that end before are ended by the service at their time."""
        while self._lease_ends and self._lease_ends[0] < to:
            self._clock.set_to(self._lease_ends.pop(0))
            self._log.wait_for("lease.ended")
        self._clock.set_to(to)

    def _decide(self, sent: Sent) -> None:
        if sent.decision is None:
            return
        shown = self._channel.wait_for(lambda each: each.buttons != [])
        begun = self._clock.time()
        self._clock.set_to(begun + (sent.after_s or EXPIRES_AFTER_S + 1))
        if sent.decision == "approve":
            self._channel.approve(shown)
            self._log.wait_for("execute.confirmed")
            self._lease_ends.append(self._clock.time() + LEASE_S + 1)
        elif sent.decision == "reject":
            self._channel.reject(shown, "known: our own script")
        self._channel.wait_for(lambda each: each.id == shown.id and each.buttons == [])

    def _close(self, sent: Sent, ids: list[str]) -> None:
        """Let Jane close what triage has left open: an attack, or what is usual at the company."""
        is_attack = sent.decision in {"approve", "expire"}
        was = "malicious" if is_attack else "false_positive"
        note = "cleaned up" if is_attack else "asked the user: it was theirs"
        said = ["--note", note, "--by", APPROVER]
        words = ["incident", "list", "--status", "open", "--json"]
        found = msgspec.json.decode(self._terminal.run(words), type=_Incidents).incidents
        for each in found:
            self._terminal.run(["incident", "close", each.id, "--resolution", was, *said])
        if found:
            verdict = "malicious" if is_attack else "benign"
            self._terminal.run(["alert", "finish", *ids, "--verdict", verdict, *said])


def first_day(until: float) -> datetime:
    """Return midnight of the first day of the history, in UTC."""
    today = datetime.fromtimestamp(until, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - timedelta(days=DAYS)


def wait_until_judged(terminal: Terminal) -> None:
    """Return when no alert waits for its verdict.

    Raises:
        OperatorError: One waited for JUDGED_WITHIN_S.
    """
    waiting = ("--delivery", "queued", "--delivery", "taken", "--delivery", "unfinished")
    deadline = time.monotonic() + JUDGED_WITHIN_S
    while time.monotonic() < deadline:
        printed = terminal.run(["alert", "list", *waiting, "--json"])
        if not msgspec.json.decode(printed, type=_Alerts).alerts:
            return
        time.sleep(PAUSE_S)  # the service reports no verdict to other processes
    raise OperatorError(f"an alert was not judged within {JUDGED_WITHIN_S} s")
