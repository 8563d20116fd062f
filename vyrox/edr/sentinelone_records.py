"""What SentinelOne returns: agents, threats and the results of actions, and what they mean."""

import msgspec

from vyrox.edr.client import ActionResult, Progress
from vyrox.edr.crowdstrike.processes import is_same_name
from vyrox.errors import VendorError


class Reason(msgspec.Struct, frozen=True):
    """One error of a response."""

    code: int | None = None


class _Tag(msgspec.Struct, frozen=True):
    key: str
    value: str | None = None


class _Tags(msgspec.Struct, frozen=True):
    sentinelone: list[_Tag] | None = None


class Agent(msgspec.Struct, frozen=True, rename="camel"):
    """One agent."""

    id: str
    uuid: str | None = None
    computer_name: str | None = None
    network_status: str | None = None
    tags: _Tags | None = None


class Agents(msgspec.Struct, frozen=True):
    """A page of agents."""

    data: list[Agent]
    errors: list[Reason] | None = None


class _ThreatAgent(msgspec.Struct, frozen=True, rename="camel"):
    agent_id: str | None = None


class _Mitigation(msgspec.Struct, frozen=True):
    action: str | None = None
    status: str | None = None


class ThreatInfo(msgspec.Struct, frozen=True, rename="camel"):
    """The names in a threat that may be the alert's process."""

    threat_name: str | None = None
    file_path: str | None = None
    originator_process: str | None = None


class Threat(msgspec.Struct, frozen=True, rename="camel"):
    """One threat."""

    id: str
    agent_realtime_info: _ThreatAgent | None = None
    threat_info: ThreatInfo | None = None
    mitigation_status: list[_Mitigation] | None = None


class Threats(msgspec.Struct, frozen=True):
    """A page of threats."""

    data: list[Threat]
    errors: list[Reason] | None = None


class _Affected(msgspec.Struct, frozen=True):
    affected: int


class ActionResponse(msgspec.Struct, frozen=True):
    """The response to an action."""

    data: _Affected | None = None
    errors: list[Reason] | None = None


AGENTS = msgspec.json.Decoder(Agents)
THREATS = msgspec.json.Decoder(Threats)
ACTION_RESPONSE = msgspec.json.Decoder(ActionResponse)


def read_tags(agent: Agent) -> tuple[str, ...] | None:
    """Return the tags of an agent as `key:value`, None if the vendor sent none."""
    tags = agent.tags.sentinelone if agent.tags else None
    return None if tags is None else tuple(_tag(tag) for tag in tags)


def _tag(tag: _Tag) -> str:
    return f"{tag.key}:{tag.value}" if tag.value else tag.key


def check_process(threat: Threat, shown: str | None) -> None:
    """Return if the process in the alert is in the vendor's record.

    Raises:
        VendorError: It is not, so the human approved something else.
    """
    info = threat.threat_info or ThreatInfo()
    names = [info.threat_name, info.file_path, info.originator_process]
    if shown and not any(name and is_same_name(shown, name) for name in names):
        raise VendorError("the process in the alert differs from the vendor's record")


def earlier_kill(threat: Threat) -> ActionResult | None:
    """Return the result if a kill was sent earlier and has not failed, else None."""
    progress = kill_progress(threat)
    if progress in {None, "failed"}:
        return None
    return ActionResult(
        confirmed=progress == "reached", changed=False, reference=kill_reference(threat)
    )


def _kills(threat: Threat) -> list[str | None]:
    """Return the status of each kill of a threat."""
    return [result.status for result in threat.mitigation_status or () if result.action == "kill"]


def kill_reference(threat: Threat) -> str:
    """Return the reference of a kill: its threat, and how many kills had failed before it."""
    return f"{threat.id}:{_kills(threat).count('failed')}"


def kill_progress(threat: Threat, failed_before: int = 0) -> Progress | None:
    """Return the progress of the kill of a threat, None if no kill was sent."""
    kills = _kills(threat)
    if not kills:
        return None
    if "success" in kills:
        return "reached"
    return "failed" if set(kills) == {"failed"} and len(kills) > failed_before else "pending"
