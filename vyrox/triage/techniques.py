"""Names of MITRE ATT&CK techniques, for people: those of the signals and of common alerts.

The names are MITRE's: (c) The MITRE Corporation. This work is reproduced and distributed with the
permission of The MITRE Corporation. ATT&CK is its registered trademark. See LICENSE of ATT&CK at
https://attack.mitre.org/resources/legal-and-branding/terms-of-use/.

They were compared with Enterprise ATT&CK 18.1, and all are equal. T1574.002 is revoked there, in
favour of T1574.001; vendors send it still.
"""

import re
from typing import Final

_ID: Final = re.compile(r"T[0-9]{4}(?:\.[0-9]{3})?")

_TABLE: Final = """
T1003 OS Credential Dumping
T1003.001 LSASS Memory
T1003.002 Security Account Manager
T1003.003 NTDS
T1003.004 LSA Secrets
T1003.005 Cached Domain Credentials
T1003.006 DCSync
T1003.007 Proc Filesystem
T1003.008 /etc/passwd and /etc/shadow
T1005 Data from Local System
T1010 Application Window Discovery
T1012 Query Registry
T1014 Rootkit
T1016 System Network Configuration Discovery
T1016.001 Internet Connection Discovery
T1018 Remote System Discovery
T1021 Remote Services
T1021.001 Remote Desktop Protocol
T1021.002 SMB/Windows Admin Shares
T1021.003 Distributed Component Object Model
T1021.004 SSH
T1021.006 Windows Remote Management
T1027 Obfuscated Files or Information
T1027.004 Compile After Delivery
T1027.010 Command Obfuscation
T1033 System Owner/User Discovery
T1036 Masquerading
T1036.003 Rename Legitimate Utilities
T1036.004 Masquerade Task or Service
T1036.005 Match Legitimate Resource Name or Location
T1036.007 Double File Extension
T1037 Boot or Logon Initialization Scripts
T1037.004 RC Scripts
T1039 Data from Network Shared Drive
T1041 Exfiltration Over C2 Channel
T1046 Network Service Discovery
T1047 Windows Management Instrumentation
T1048 Exfiltration Over Alternative Protocol
T1048.002 Exfiltration Over Asymmetric Encrypted Non-C2 Protocol
T1048.003 Exfiltration Over Unencrypted Non-C2 Protocol
T1049 System Network Connections Discovery
T1053 Scheduled Task/Job
T1053.003 Cron
T1053.005 Scheduled Task
T1055 Process Injection
T1055.001 Dynamic-link Library Injection
T1055.012 Process Hollowing
T1056 Input Capture
T1056.001 Keylogging
T1056.002 GUI Input Capture
T1056.003 Web Portal Capture
T1057 Process Discovery
T1059 Command and Scripting Interpreter
T1059.001 PowerShell
T1059.002 AppleScript
T1059.003 Windows Command Shell
T1059.004 Unix Shell
T1059.005 Visual Basic
T1059.006 Python
T1059.007 JavaScript
T1059.010 AutoHotKey & AutoIT
T1059.011 Lua
T1068 Exploitation for Privilege Escalation
T1069 Permission Groups Discovery
T1069.001 Local Groups
T1069.002 Domain Groups
T1070 Indicator Removal
T1070.001 Clear Windows Event Logs
T1070.002 Clear Linux or Mac System Logs
T1070.003 Clear Command History
T1070.004 File Deletion
T1070.006 Timestomp
T1071 Application Layer Protocol
T1072 Software Deployment Tools
T1074 Data Staged
T1074.001 Local Data Staging
T1078 Valid Accounts
T1082 System Information Discovery
T1083 File and Directory Discovery
T1087 Account Discovery
T1087.001 Local Account
T1087.002 Domain Account
T1090 Proxy
T1090.003 Multi-hop Proxy
T1095 Non-Application Layer Protocol
T1098 Account Manipulation
T1098.001 Additional Cloud Credentials
T1098.002 Additional Email Delegate Permissions
T1098.004 SSH Authorized Keys
T1102 Web Service
T1105 Ingress Tool Transfer
T1110 Brute Force
T1110.003 Password Spraying
T1112 Modify Registry
T1113 Screen Capture
T1114 Email Collection
T1114.001 Local Email Collection
T1115 Clipboard Data
T1119 Automated Collection
T1123 Audio Capture
T1124 System Time Discovery
T1125 Video Capture
T1127 Trusted Developer Utilities Proxy Execution
T1127.001 MSBuild
T1127.002 ClickOnce
T1134 Access Token Manipulation
T1134.001 Token Impersonation/Theft
T1135 Network Share Discovery
T1136 Create Account
T1136.001 Local Account
T1136.002 Domain Account
T1137 Office Application Startup
T1137.006 Add-ins
T1140 Deobfuscate/Decode Files or Information
T1176 Software Extensions
T1185 Browser Session Hijacking
T1195 Supply Chain Compromise
T1197 BITS Jobs
T1201 Password Policy Discovery
T1202 Indirect Command Execution
T1204 User Execution
T1204.002 Malicious File
T1204.004 Malicious Copy and Paste
T1207 Rogue Domain Controller
T1210 Exploitation of Remote Services
T1213 Data from Information Repositories
T1216 System Script Proxy Execution
T1216.001 PubPrn
T1218 System Binary Proxy Execution
T1218.001 Compiled HTML File
T1218.003 CMSTP
T1218.004 InstallUtil
T1218.005 Mshta
T1218.007 Msiexec
T1218.008 Odbcconf
T1218.009 Regsvcs/Regasm
T1218.010 Regsvr32
T1218.011 Rundll32
T1218.012 Verclsid
T1218.014 MMC
T1218.015 Electron Applications
T1219 Remote Access Tools
T1220 XSL Script Processing
T1222 File and Directory Permissions Modification
T1482 Domain Trust Discovery
T1484 Domain or Tenant Policy Modification
T1484.001 Group Policy Modification
T1485 Data Destruction
T1486 Data Encrypted for Impact
T1489 Service Stop
T1490 Inhibit System Recovery
T1491 Defacement
T1496 Resource Hijacking
T1497 Virtualization/Sandbox Evasion
T1499 Endpoint Denial of Service
T1505 Server Software Component
T1505.001 SQL Stored Procedures
T1505.002 Transport Agent
T1505.003 Web Shell
T1518 Software Discovery
T1518.001 Security Software Discovery
T1528 Steal Application Access Token
T1529 System Shutdown/Reboot
T1531 Account Access Removal
T1537 Transfer Data to Cloud Account
T1539 Steal Web Session Cookie
T1542 Pre-OS Boot
T1542.003 Bootkit
T1543 Create or Modify System Process
T1543.001 Launch Agent
T1543.002 Systemd Service
T1543.003 Windows Service
T1543.004 Launch Daemon
T1546 Event Triggered Execution
T1546.001 Change Default File Association
T1546.002 Screensaver
T1546.003 Windows Management Instrumentation Event Subscription
T1546.004 Unix Shell Configuration Modification
T1546.008 Accessibility Features
T1546.009 AppCert DLLs
T1546.010 AppInit DLLs
T1546.012 Image File Execution Options Injection
T1546.013 PowerShell Profile
T1546.015 Component Object Model Hijacking
T1547 Boot or Logon Autostart Execution
T1547.001 Registry Run Keys / Startup Folder
T1547.004 Winlogon Helper DLL
T1547.005 Security Support Provider
T1547.006 Kernel Modules and Extensions
T1547.009 Shortcut Modification
T1547.014 Active Setup
T1547.015 Login Items
T1548 Abuse Elevation Control Mechanism
T1548.001 Setuid and Setgid
T1548.002 Bypass User Account Control
T1548.003 Sudo and Sudo Caching
T1548.004 Elevated Execution with Prompt
T1548.006 TCC Manipulation
T1550 Use Alternate Authentication Material
T1550.002 Pass the Hash
T1552 Unsecured Credentials
T1552.001 Credentials In Files
T1552.002 Credentials in Registry
T1552.003 Shell History
T1552.004 Private Keys
T1552.005 Cloud Instance Metadata API
T1552.006 Group Policy Preferences
T1552.007 Container API
T1553 Subvert Trust Controls
T1553.001 Gatekeeper Bypass
T1553.002 Code Signing
T1553.004 Install Root Certificate
T1553.005 Mark-of-the-Web Bypass
T1555 Credentials from Password Stores
T1555.001 Keychain
T1555.003 Credentials from Web Browsers
T1555.004 Windows Credential Manager
T1555.005 Password Managers
T1556 Modify Authentication Process
T1556.002 Password Filter DLL
T1556.003 Pluggable Authentication Modules
T1557 Adversary-in-the-Middle
T1558 Steal or Forge Kerberos Tickets
T1558.001 Golden Ticket
T1558.002 Silver Ticket
T1558.003 Kerberoasting
T1558.004 AS-REP Roasting
T1560 Archive Collected Data
T1560.001 Archive via Utility
T1561 Disk Wipe
T1561.002 Disk Structure Wipe
T1562 Impair Defenses
T1562.001 Disable or Modify Tools
T1562.002 Disable Windows Event Logging
T1562.004 Disable or Modify System Firewall
T1562.006 Indicator Blocking
T1562.008 Disable or Modify Cloud Logs
T1562.009 Safe Mode Boot
T1562.010 Downgrade Attack
T1562.012 Disable or Modify Linux Audit System
T1563 Remote Service Session Hijacking
T1563.002 RDP Hijacking
T1564 Hide Artifacts
T1564.001 Hidden Files and Directories
T1564.002 Hidden Users
T1564.003 Hidden Window
T1564.004 NTFS File Attributes
T1564.006 Run Virtual Instance
T1565 Data Manipulation
T1565.001 Stored Data Manipulation
T1566 Phishing
T1566.001 Spearphishing Attachment
T1567 Exfiltration Over Web Service
T1567.002 Exfiltration to Cloud Storage
T1568 Dynamic Resolution
T1569 System Services
T1569.002 Service Execution
T1570 Lateral Tool Transfer
T1571 Non-Standard Port
T1572 Protocol Tunneling
T1573 Encrypted Channel
T1574 Hijack Execution Flow
T1574.001 DLL
T1574.002 DLL Side-Loading
T1574.006 Dynamic Linker Hijacking
T1588 Obtain Capabilities
T1609 Container Administration Command
T1610 Deploy Container
T1611 Escape to Host
T1613 Container and Resource Discovery
T1615 Group Policy Discovery
T1620 Reflective Code Loading
T1649 Steal or Forge Authentication Certificates
"""

_NAMES: Final = dict(line.split(" ", 1) for line in _TABLE.strip().splitlines())


def technique_name(technique: str | None) -> str | None:
    """Return the name of a technique, a sub-technique after its technique; None: not known here."""
    if technique is None or not _ID.fullmatch(technique) or technique not in _NAMES:
        return None
    above, _, sub = technique.partition(".")
    return f"{_NAMES[above]}: {_NAMES[technique]}" if sub else _NAMES[technique]
