"""The fictional company in the mock: the hosts of the simulator's scenarios, and more.

The credentials in this file are public.
"""

from typing import Final
from uuid import NAMESPACE_DNS, uuid5

from vyrox.models import normal_host
from vyrox.trial import company
from vyrox.trial.company import DOMAIN
from vyrox.trial.mock_edr.state import (
    CrowdStrike,
    CrowdStrikeAlert,
    CrowdStrikeDevice,
    Defender,
    DefenderMachine,
    Process,
    SentinelOne,
    SentinelOneAgent,
    SentinelOneThreat,
)
from vyrox.trial.mock_edr.tokens import ApiClient

WORKSTATION_01: Final = normal_host(company.WORKSTATION_01.crowdstrike)
FILE_SRV_02: Final = normal_host(company.FILE_SRV_02.crowdstrike)
DC_01: Final = normal_host(company.DC_01.crowdstrike)
WORKSTATION_07: Final = normal_host(company.WORKSTATION_07.crowdstrike)
LAPTOP_11: Final = ("e0b45d1296f34c7f8a5d3e61c2097b84", "7d92f3081c6e4ab5b0f9824e5d16c73a")
"""Two hosts with one name: the laptop was imaged again."""
LAPTOP_23: Final = "94c0e8b75a1d42f6813e7f2d60b5a9c1"
"""Offline."""

S1_WORKSTATION_07: Final = company.WORKSTATION_07.sentinelone
S1_FILE_SRV_02: Final = company.FILE_SRV_02.sentinelone
S1_WORKSTATION_01: Final = company.WORKSTATION_01.sentinelone
S1_DC_01: Final = company.DC_01.sentinelone
S1_LAPTOP_11: Final = ("1742962054817739204", "1751408830264519977")
S1_LAPTOP_23: Final = "1742962641190382755"
"""Inactive."""

MDE_WORKSTATION_01: Final = company.WORKSTATION_01.defender
MDE_WORKSTATION_07: Final = company.WORKSTATION_07.defender
MDE_FILE_SRV_02: Final = company.FILE_SRV_02.defender
MDE_DC_01: Final = company.DC_01.defender
MDE_LAPTOP_11: Final = (
    "0a9f4e72d8c13b56e7240fb9c5d8613a7e92b045",
    "b65d10e93f7c48a2d90b6e815c47f3a2e08d9761",
)
MDE_LAPTOP_23: Final = "73e81cb4a05d96f2c8173d0e5fb946a1d2c70e58"
"""Inactive."""

MIMIKATZ_ALERT: Final = (
    f"0123456789abcdef0123456789abcdef:ind:{WORKSTATION_01}:173054625122-10417-2291"
)
"""A CrowdStrike alert about a process that runs on workstation-01."""

PSEXEC_THREAT: Final = "1742963907715284406"
"""A SentinelOne threat on file-srv-02."""


def crowdstrike(now: float) -> CrowdStrike:
    """Return the initial state of Falcon. `now` is in Unix seconds."""
    devices = [
        CrowdStrikeDevice(
            device_id=WORKSTATION_01,
            hostname="workstation-01",
            processes=_processes(now),
            tags=["SensorGroupingTags/office"],
        ),
        CrowdStrikeDevice(
            device_id=FILE_SRV_02,
            hostname="file-srv-02",
            product_type_desc="Server",
            processes=_processes(now),
        ),
        CrowdStrikeDevice(
            device_id=normal_host(company.ERP_SRV_03.crowdstrike),
            hostname="erp-srv-03",
            product_type_desc="Server",
        ),
        CrowdStrikeDevice(
            device_id=DC_01,
            hostname="dc-01",
            product_type_desc="Domain Controller",
            tags=["FalconGroupingTags/domain-controller"],
        ),
        CrowdStrikeDevice(device_id=WORKSTATION_07, hostname="workstation-07"),
        CrowdStrikeDevice(
            device_id=normal_host(company.WORKSTATION_12.crowdstrike), hostname="workstation-12"
        ),
        CrowdStrikeDevice(
            device_id=normal_host(company.SQL_SRV_05.crowdstrike),
            hostname="sql-srv-05",
            product_type_desc="Server",
        ),
        *(CrowdStrikeDevice(device_id=aid, hostname="laptop-11") for aid in LAPTOP_11),
        CrowdStrikeDevice(
            device_id=LAPTOP_23, hostname="laptop-23", is_online=False, processes=_processes(now)
        ),
    ]
    alert = CrowdStrikeAlert(
        composite_id=MIMIKATZ_ALERT,
        device_id=WORKSTATION_01,
        process_id="173054625122",
        local_process_id="4312",
        process_start_time=str(int(now - 240)),
        filename="mimikatz.exe",
        cmdline='mimikatz.exe "privilege::debug" "sekurlsa::logonpasswords" "exit"',
        severity=90,
        severity_name="Critical",
    )
    client = ApiClient(
        client_id="5b1f0c7d9e2a4c6f8d3b7a1e0f4c2d96",
        client_secret="mock-Qx7RkP2mWv9TzL4bYc8NfD1hSg6JuE3aA5oK",  # noqa: S106
        scopes={
            "alerts:read",
            "hosts:read",
            "hosts:write",
            "real-time-response:read",
            "real-time-response:write",
        },
    )
    return CrowdStrike(
        clients={client.client_id: client},
        devices={device.device_id: device for device in devices},
        alerts={alert.composite_id: alert},
    )


def _processes(now: float) -> dict[int, Process]:
    started = (
        (4, "System", 86_400, ""),
        (672, "lsass", 86_390, r"C:\Windows\System32\lsass.exe"),
        (4312, "mimikatz", 240, r"C:\Users\jsmith\Downloads\mimikatz.exe"),
        (5120, "explorer", 28_800, r"C:\Windows\explorer.exe"),
    )
    # Whole seconds, as in `ps` and in alerts.
    return {
        pid: Process(pid=pid, name=name, started_at=int(now - ago_s), path=path)
        for pid, name, ago_s, path in started
    }


def sentinelone(now: float) -> SentinelOne:
    """Return the initial state of the SentinelOne account."""
    agents = [
        _agent(S1_WORKSTATION_01, "workstation-01"),
        _agent(S1_FILE_SRV_02, "file-srv-02", machine_type="server"),
        _agent(company.ERP_SRV_03.sentinelone, "erp-srv-03", machine_type="server"),
        _agent(S1_DC_01, "dc-01", machine_type="server", tags={"role": "domain-controller"}),
        _agent(S1_WORKSTATION_07, "workstation-07"),
        _agent(company.WORKSTATION_12.sentinelone, "workstation-12"),
        _agent(company.SQL_SRV_05.sentinelone, "sql-srv-05", machine_type="server"),
        *(_agent(each, "laptop-11") for each in S1_LAPTOP_11),
        _agent(S1_LAPTOP_23, "laptop-23", is_active=False),
    ]
    threat = SentinelOneThreat(
        id=PSEXEC_THREAT,
        agent_id=S1_FILE_SRV_02,
        name="PSEXESVC.exe",
        file_path=r"\Device\HarddiskVolume3\Windows\PSEXESVC.exe",
        sha1="b7c2e41f90d83a56c1ef7420da9b385e6f0c8d17",
        created_at=int(now - 120),
    )
    client = ApiClient(
        client_id="vyrox",
        client_secret="mock-eyJraWQiOiJtb2NrIn0-c2VydmljZS11c2VyLXZ5cm94-4f9b2c7e1d",  # noqa: S106
        scopes={
            "agents.connect",
            "agents.disconnect",
            "agents.view",
            "system.view",
            "threats.mitigate",
            "threats.view",
        },
        secret_expires_at=now + 180 * 86_400,
    )
    return SentinelOne(
        clients={client.client_id: client},
        agents={agent.id: agent for agent in agents},
        threats={threat.id: threat},
    )


def _agent(
    agent_id: str,
    computer_name: str,
    *,
    machine_type: str = "desktop",
    is_active: bool = True,
    tags: dict[str, str] | None = None,
) -> SentinelOneAgent:
    return SentinelOneAgent(
        id=agent_id,
        uuid=uuid5(NAMESPACE_DNS, f"{agent_id}.{DOMAIN}").hex,
        computer_name=computer_name,
        machine_type=machine_type,
        is_active=is_active,
        tags=tags or {},
    )


def defender(_now: float) -> Defender:
    """Return the initial state of the Defender tenant."""
    machines = [
        DefenderMachine(id=MDE_WORKSTATION_01, computer_dns_name=f"workstation-01.{DOMAIN}"),
        DefenderMachine(id=MDE_WORKSTATION_07, computer_dns_name=f"workstation-07.{DOMAIN}"),
        DefenderMachine(
            id=company.WORKSTATION_12.defender, computer_dns_name=f"workstation-12.{DOMAIN}"
        ),
        DefenderMachine(
            id=company.SQL_SRV_05.defender,
            computer_dns_name=f"sql-srv-05.{DOMAIN}",
            os_platform="WindowsServer2022",
        ),
        DefenderMachine(
            id=MDE_FILE_SRV_02,
            computer_dns_name=f"file-srv-02.{DOMAIN}",
            os_platform="WindowsServer2022",
        ),
        DefenderMachine(
            id=company.ERP_SRV_03.defender,
            computer_dns_name=f"erp-srv-03.{DOMAIN}",
            os_platform="WindowsServer2022",
        ),
        DefenderMachine(
            id=MDE_DC_01,
            computer_dns_name=f"dc-01.{DOMAIN}",
            os_platform="WindowsServer2022",
            machine_tags=["domain-controller"],
        ),
        *(
            DefenderMachine(id=each, computer_dns_name=f"laptop-11.{DOMAIN}")
            for each in MDE_LAPTOP_11
        ),
        DefenderMachine(id=MDE_LAPTOP_23, computer_dns_name=f"laptop-23.{DOMAIN}", is_active=False),
    ]
    client = ApiClient(
        client_id="3c8e51d7-0b4f-4a96-9d2e-7f61c0a8b35d",
        client_secret="mock~8Q~Vd3kZr5TxW1yNpB7hGf2LsJc9MuEa4RoK6iD",  # noqa: S106
        scopes={"Machine.Isolate", "Machine.Read.All", "SecurityAlert.Read.All"},
    )
    return Defender(
        clients={client.client_id: client},
        machines={machine.id: machine for machine in machines},
        tenant_id="11111111-2222-3333-4444-555555555555",
    )
