"""The state of each mocked vendor. Tests set it, requests change it."""

from typing import Literal

import msgspec

from vyrox.trial.mock_edr.tokens import ApiClient, Token

READS_UNTIL_DONE = 2
"""The first read of a pending change returns pending, the second returns done."""

ContainmentStatus = Literal[
    "normal", "containment_pending", "contained", "lift_containment_pending"
]


class Process(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A process on a host.

    Attributes:
        name: As in `ps`: the file name without `.exe`.
        started_at: Unix seconds.
    """

    pid: int
    name: str
    started_at: float
    path: str


class RtrBehavior(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How a host reacts to Real Time Response.

    Attributes:
        polls_until_complete: The poll that finds a command complete: 1 is the first.
        never_completes: Base commands that are accepted and never end. They do nothing.
        stderr: Base command -> its error output. It does nothing.
        stdout: Base command -> its output, in place of the usual one.
        is_split: The output has two parts.
        queues_anyway: Commands are queued although the request did not ask for a queue.
        utc_offset_h: The host's time zone, for the times in `ps`.
    """

    polls_until_complete: int = 1
    never_completes: set[str] = msgspec.field(default_factory=set)
    stderr: dict[str, str] = msgspec.field(default_factory=dict)
    stdout: dict[str, str] = msgspec.field(default_factory=dict)
    is_split: bool = False
    queues_anyway: bool = False
    utc_offset_h: int = 0


class CrowdStrikeDevice(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A host with a Falcon sensor.

    Attributes:
        device_id: The AID: 32 hexadecimal digits.
        tags: As `FalconGroupingTags/...` or `SensorGroupingTags/...`.
        is_stuck: Containment stays pending for ever, as it does while the host is offline.
        pending_reads: How often the present pending status was read.
    """

    device_id: str
    hostname: str
    status: ContainmentStatus = "normal"
    is_online: bool = True
    is_stuck: bool = False
    pending_reads: int = 0
    tags: list[str] = msgspec.field(default_factory=list)
    product_type_desc: str = "Workstation"
    processes: dict[int, Process] = msgspec.field(default_factory=dict)
    rtr: RtrBehavior = msgspec.field(default_factory=RtrBehavior)


class CrowdStrikeAlert(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An alert of the Alerts API.

    Attributes:
        device_id: None if the alert has no device. Alerts of type xdr have none.
        process_id: Falcon's own 64-bit identifier of the process, which is not the PID.
        local_process_id: The PID, as text; None if the alert does not have it.
        process_start_time: Unix seconds, as text.
        updated_at: When it was last changed, in Unix seconds; None: now.
        other: Members of the entity that differ from what the mock makes up; null removes one.
    """

    composite_id: str
    device_id: str | None
    type: str = "ldt"
    process_id: str | None = None
    local_process_id: str | None = None
    process_start_time: str | None = None
    filename: str | None = None
    cmdline: str | None = None
    severity: int = 70
    severity_name: str = "High"
    updated_at: float | None = None
    other: dict[str, object] = msgspec.field(default_factory=dict)


class RtrSession(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A Real Time Response session: one for each API client and host."""

    session_id: str
    client_id: str
    device_id: str
    used_at: float
    is_queued: bool


class RtrCommand(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A command that was sent to a host.

    Attributes:
        is_queued: It waits until the host is online.
        never_completes: No poll ever finds it complete.
        polls: How often its status was read, at sequence 0.
        outputs: The parts of stdout.
    """

    cloud_request_id: str
    session_id: str
    device_id: str
    base_command: str
    command_string: str
    is_queued: bool = False
    never_completes: bool = False
    polls: int = 0
    outputs: list[str] = msgspec.field(default_factory=list)
    stderr: str = ""


class CrowdStrike(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One Falcon tenant.

    Attributes:
        clients: By client id; their scopes are such as `hosts:write`.
        devices: By AID.
        alerts: By composite id.
        region: The value of X-CS-Region.
        rate_limit_remaining: The value of X-RateLimit-Remaining. The mock does not count.
        reads_until_done: The read of a pending host that finds it done; None: only a tick does it.
        refuses_repeats: Containing what is contained is 409; it is 202 and no change otherwise.
    """

    clients: dict[str, ApiClient]
    devices: dict[str, CrowdStrikeDevice]
    alerts: dict[str, CrowdStrikeAlert] = msgspec.field(default_factory=dict)
    tokens: dict[str, Token] = msgspec.field(default_factory=dict)
    sessions: dict[str, RtrSession] = msgspec.field(default_factory=dict)
    commands: dict[str, RtrCommand] = msgspec.field(default_factory=dict)
    cid: str = "0123456789abcdef0123456789abcdef"
    region: str = "us-1"
    rate_limit: int = 6000
    rate_limit_remaining: int = 5999
    reads_until_done: int | None = READS_UNTIL_DONE
    refuses_repeats: bool = False


NetworkStatus = Literal["connected", "disconnecting", "disconnected", "connecting"]


class SentinelOneAgent(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A host with a SentinelOne agent.

    Attributes:
        id: Digits. Actions take it, not `uuid`.
        is_stuck: Its network status stays pending for ever, as it does while it is inactive.
    """

    id: str
    uuid: str
    computer_name: str
    network_status: NetworkStatus = "connected"
    is_active: bool = True
    is_stuck: bool = False
    pending_reads: int = 0
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    machine_type: str = "desktop"


class SentinelOneThreat(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A threat on one agent.

    Attributes:
        kill: The status of its kill. None: no kill was requested.
        kill_fails: A kill is accepted, and fails.
        updated_at: When it was last changed, in Unix seconds; None: when it was created.
        other: As a CrowdStrikeAlert's.
    """

    id: str
    agent_id: str
    name: str
    file_path: str
    sha1: str
    created_at: float
    kill: Literal["pending", "success", "failed"] | None = None
    kill_fails: bool = False
    pending_reads: int = 0
    updated_at: float | None = None
    other: dict[str, object] = msgspec.field(default_factory=dict)


class SentinelOne(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One SentinelOne account.

    Attributes:
        clients: By name; the secret is the API token itself.
        agents: By id.
        threats: By id.
        affected: The number that every action reports. None: the true number.
        reads_until_done: As CrowdStrike's.
    """

    clients: dict[str, ApiClient]
    agents: dict[str, SentinelOneAgent]
    threats: dict[str, SentinelOneThreat] = msgspec.field(default_factory=dict)
    account_id: str = "1742950000000000001"
    affected: int | None = None
    reads_until_done: int | None = READS_UNTIL_DONE


ActionStatus = Literal["Pending", "InProgress", "Succeeded", "Failed", "TimeOut", "Cancelled"]


class DefenderMachine(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A host with Defender for Endpoint.

    Attributes:
        id: 40 hexadecimal digits.
        is_active: False: its actions stay Pending.
        is_stuck: Its actions stay Pending although it is active.
        is_isolated: Only inside the mock: the vendor's API shows only the actions.
        outcome: The final status of its next actions.
    """

    id: str
    computer_dns_name: str
    is_active: bool = True
    is_stuck: bool = False
    is_isolated: bool = False
    machine_tags: list[str] = msgspec.field(default_factory=list)
    os_platform: str = "Windows11"
    outcome: Literal["Succeeded", "Failed", "TimeOut"] = "Succeeded"


class MachineAction(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One action on a machine, and its status."""

    id: str
    type: Literal["Isolate", "Unisolate"]
    machine_id: str
    comment: str
    scope: str | None
    requestor: str
    created_at: float
    updated_at: float
    status: ActionStatus = "Pending"
    pending_reads: int = 0


class GraphAlert(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An alert of Microsoft Graph, about one machine. `other` is as a CrowdStrikeAlert's."""

    id: str
    title: str
    machine_id: str
    created_at: float
    updated_at: float
    severity: str = "high"
    incident_id: str = "28282"
    file_name: str = "mimikatz.exe"
    command_line: str = "mimikatz.exe"
    other: dict[str, object] = msgspec.field(default_factory=dict)


class Defender(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One Entra tenant with Defender for Endpoint.

    Attributes:
        clients: By client id; their scopes are application permissions, such as `Machine.Isolate`.
        machines: By id.
        actions: By id, in the order of the requests.
        alerts: By id.
        page_size: The most alerts of one page, whatever `$top` asks for.
        returns_open_action: The response to a request while an action is open is that action;
            otherwise 400 ActiveRequestAlreadyExists. The vendor's documents describe both.
        reads_until_done: As CrowdStrike's.
    """

    clients: dict[str, ApiClient]
    machines: dict[str, DefenderMachine]
    tenant_id: str
    actions: dict[str, MachineAction] = msgspec.field(default_factory=dict)
    alerts: dict[str, GraphAlert] = msgspec.field(default_factory=dict)
    page_size: int = 1000
    tokens: dict[str, Token] = msgspec.field(default_factory=dict)
    returns_open_action: bool = False
    reads_until_done: int | None = READS_UNTIL_DONE
