"""Payloads in the vendors' own forms: attested shapes, with values made up here.

`tests/data` has what vendors and parsers have published; these have every member that is read.
"""

from typing import Final

CID: Final = "c1" * 16
AID: Final = "a1" * 16
COMPOSITE: Final = f"{CID}:ind:{AID}:7718264914188-10197-1200"
SHA256: Final = "e3" * 32
SHA1: Final = "5f" * 20
MDE_ID: Final = "7e" * 20
OTHER_MDE_ID: Final = "8f" * 20
ENTRA: Final = "b3c1b5fc-828c-45fa-a1e1-10d74f6d6e9c"
BIG: Final = 1_719_309_930_613_520_072
"""An id above 2^53: a float would round it."""

LINE: Final = r'"C:\Windows\System32\rundll32.exe" C:\temp\a.dll,Run'

Json = dict[str, object]


def event(kind: str, members: Json) -> Json:
    """Return an event of Event Streams."""
    metadata: Json = {
        "customerIDString": CID,
        "offset": 14947764,
        "eventType": kind,
        "eventCreationTime": 1_776_244_061_123,
        "version": "1.0",
    }
    return {"metadata": metadata, "event": members}


EPP: Final = event(
    "EppDetectionSummaryEvent",
    {
        "Hostname": "WS-7",
        "AgentId": AID,
        "AggregateId": f"aggind:{AID}:7718264914188",
        "CompositeId": COMPOSITE,
        "UserName": "alice",
        "LogonDomain": "CORP",
        "FileName": "rundll32.exe",
        "FilePath": "\\Device\\HarddiskVolume3\\Windows\\System32\\rundll32.exe",
        "CommandLine": LINE,
        "SHA256String": SHA256,
        "SHA1String": "0" * 40,
        "Severity": 65,
        "Tactic": "Defense Evasion",
        "Technique": "Rundll32",
        "MitreAttack": [
            {"Tactic": "Defense Evasion", "Technique": "Rundll32", "TechniqueID": "T1218.011"}
        ],
        "ProcessId": BIG,
        "ProcessStartTime": 1_776_244_050,
        "ProcessEndTime": 0,
        "FalconHostLink": f"https://falcon.crowdstrike.com/activity-v2/detections/{COMPOSITE}?x=1",
    },
)

LEGACY: Final = event(
    "DetectionSummaryEvent",
    {
        "ComputerName": "WS-7",
        "SensorId": AID,
        "UserName": "alice",
        "DetectName": "Known Malware",
        "FileName": "rundll32.exe",
        "CommandLine": LINE,
        "SHA256String": SHA256,
        "Severity": 5,
        "Tactic": "Malware",
        "Technique": "PUP",
        "ProcessId": str(BIG),
        "ProcessStartTime": "1776244050",
        "FalconHostLink": f"https://falcon.crowdstrike.com/activity/detections/detail/{AID}/77?_cid=1",
    },
)

IDP: Final = event(
    "IdpDetectionSummaryEvent",
    {
        "DetectId": f"{CID}:ind:{CID}:9f7ae1dc-1111-4b4d-8a3e-d1d2f1b0c0aa",
        "DetectName": "A user received new privileges",
        "Severity": 2,
        "SourceAccountName": "alice",
        "SourceEndpointHostName": "DC-1",
        "SourceEndpointSensorId": AID,
        "Tactic": "Privilege Escalation",
        "Technique": "Valid Accounts",
        "ContextTimeStamp": 134_207_176_611_230_000,
    },
)

XDR: Final = event(
    "XdrDetectionSummaryEvent",
    {
        "DetectId": f"{CID}:ind:{CID}:xdr|1",
        "Severity": 80,
        "SensorIds": f"{AID}, {AID}",
        "Users": ["alice"],
        "StartTimeEpoch": 1_776_244_000_000,
    },
)

MOBILE: Final = event(
    "MobileDetectionSummaryEvent",
    {
        "ComputerName": "phone-1",
        "SensorId": AID,
        "MobileDetectionId": BIG,
        "UserName": "alice",
        "Severity": 90,
        "TacticId": "CSTA0009",
        "Tactic": "Insecure security posture",
        "TechniqueId": "CST0024",
        "Technique": "Bad device settings",
        "ContextTimeStamp": 1_776_244_000,
    },
)

LEAD: Final = event(
    "AutomatedLeadSummaryEvent",
    {"LeadId": "lead-1", "HostNames": ["WS-7"], "AgentIds": [AID], "Severity": "High"},
)

ODS: Final = event(
    "EppDetectionSummaryEvent",
    {"CompositeId": COMPOSITE, "Type": "ods", "Hostname": "WS-7", "Severity": 30,
     "ProcessStartTime": 0, "IOCValue": "a,b"},
)  # fmt: skip

AUDIT: Final = event("UserActivityAuditEvent", {"OperationName": "detection_update"})

ENTITY: Final[Json] = {
    "agent_id": AID,
    "aggregate_id": f"aggind:{AID}:77",
    "cid": CID,
    "composite_id": COMPOSITE,
    "created_timestamp": "2026-04-15T09:07:50.123456789Z",
    "timestamp": "2026-04-15T09:07:41.214999999Z",
    "cmdline": LINE,
    "filename": "rundll32.exe",
    "device": {"device_id": AID, "hostname": "WS-7", "ou": None},
    "local_process_id": "8316",
    "process_id": "7718264914188",
    "process_start_time": "1776244050",
    "severity": 60,
    "sha256": SHA256,
    "tactic": "Defense Evasion",
    "technique": "Rundll32",
    "technique_id": "T1218.011",
    "user_name": "alice",
    "type": "ldt",
}

FUSION: Final[Json] = {
    "meta": {"trigger_category": "Alert", "trigger_name": "EPP Detection"},
    "data": {
        "detections.composite_id": COMPOSITE,
        "detections.aggregate_id": "agg-1",
        "detections.command_line": LINE,
        "detections.file_name": "rundll32.exe",
        "detections.sha256": SHA256,
        "detections.hostname": "WS-7",
        "detections.user_name": "alice",
        "detections.severity_name": "High",
        "detections.tactic": "Defense Evasion",
        "detections.technique_id": "T1218.011",
        "detections.local_process_id": 8316,
        "detections.timestamp": "1776244061",
    },
}

THREAT: Final[Json] = {
    "id": "1402376254913265401",
    "agentDetectionInfo": {
        "accountId": "617755838952421242",
        "siteId": "1336793312849490611",
        "agentIpV4": "10.0.0.4,10.0.0.5",
        "agentLastLoggedInUserName": "bob",
        "cloudProviders": {},
    },
    "agentRealtimeInfo": {
        "agentComputerName": "WS-7",
        "agentId": "1277428815225733296",
        "agentUuid": "bcc" + "0" * 29,
        "agentIsActive": False,
        "agentNetworkStatus": "connected",
    },
    "threatInfo": {
        "threatId": "1402376254913265401",
        "threatName": "rundll32.exe (CLI 19d3)",
        "classification": "Malware",
        "confidenceLevel": "malicious",
        "createdAt": "2026-04-15T09:08:00.000001Z",
        "identifiedAt": "2026-04-15T09:07:41.123456Z",
        "sha1": SHA1,
        "sha256": SHA256,
        "md5": None,
        "filePath": "\\Device\\HarddiskVolume3\\Windows\\System32\\rundll32.exe",
        "originatorProcess": "explorer.exe",
        "processUser": "CORP\\alice",
        "maliciousProcessArguments": LINE,
        "storyline": "D6A6C4F1B2E34567",
    },
    "mitigationStatus": [{"action": "kill", "status": "success", "actionsCounters": None}],
    "indicators": [
        {"category": "Evasion", "tactics": []},
        {
            "category": "Evasion",
            "tactics": [
                {"name": "Defense Evasion", "techniques": [{"name": "T1218.011", "link": "x"}]}
            ],
        },
    ],
}

STAR: Final[Json] = {
    "accountId": "617755838952421242",
    "activityType": 3608,
    "agentId": "1277428815225733296",
    "createdAt": "2026-04-15T09:08:00.913954Z",
    "data": {
        "alertId": BIG,
        "alertid": BIG,
        "detectedat": 1_776_244_061_000,
        "origagentname": "WS-7",
        "origagentuuid": "bcc" + "0" * 29,
        "rulename": "lolbin",
        "severity": "E_MEDIUM",
        "sourceprocesscommandline": LINE,
        "sourceprocessname": "rundll32.exe",
        "sourceprocesspid": 8316,
        "sourceprocesssha256": SHA256,
        "sourceprocessstarttime": 1_776_244_050_000,
        "sourceprocessstoryline": "D6A6C4F1B2E34567",
        "sourceprocessusername": "CORP\\alice",
        "sourceprocesskey": "K1",
        "loginsusername": "",
    },
    "id": "1402376254913265999",
    "primaryDescription": "Alert created for x from Custom Rule: lolbin, detected on OTHER.",
    "siteId": "1336793312849490611",
    "threatId": None,
}

CLOUD_DETECTION: Final[Json] = {
    "agentDetectionInfo": {"accountId": "1", "siteId": "2", "name": "WS-7", "uuid": "bcc"},
    "agentRealtimeInfo": {"id": "1277428815225733296", "name": "WS-7"},
    "alertInfo": {"alertId": "1402376254913265777", "createdAt": "2026-04-15T09:07:41.123456Z"},
    "ruleInfo": {"name": "lolbin", "severity": "High"},
    "sourceProcessInfo": {
        "commandline": LINE,
        "fileHashSha256": SHA256,
        "name": "rundll32.exe",
        "pid": "8316",
        "pidStarttime": "2026-04-15T09:07:30Z",
        "storyline": "D6A6C4F1B2E34567",
        "uniqueId": "K1",
        "user": "CORP\\alice",
    },
}

UNIFIED: Final[Json] = {
    "id": "0198b9b4-2f66-7a3c-8b4c-5c2b6c1f0a11",
    "severity": "MEDIUM",
    "classification": "MALWARE",
    "confidenceLevel": "MALICIOUS",
    "detectedAt": "2026-04-15T09:07:41.123Z",
    "detectionSource": {"product": "EDR"},
    "detectionTime": {"assets": [{"asset": None}], "scope": {"account": {"id": "617"}}},
    "assets": [{"agentUuid": "bcc0-uuid", "name": "WS-7", "id": "asset-1"}],
    "process": {
        "cmdLine": None,
        "username": "CORP\\alice",
        "file": {"path": "C:\\Windows\\System32\\rundll32.exe", "sha256": SHA256},
    },
    "storylineId": "D6A6C4F1B2E34567",
}

INFO: Final[Json] = {
    "time": "2026-04-15T09:07:50.1234567Z",
    "tenantId": ENTRA,
    "operationName": "Publish",
    "category": "AdvancedHunting-AlertInfo",
    "properties": {
        "AlertId": "da1_-7",
        "Timestamp": "2026-04-15T09:07:41.1234567Z",
        "Title": "Suspicious rundll32",
        "Category": "DefenseEvasion",
        "Severity": "Medium",
        "AttackTechniques": '["Rundll32 (T1218.011)"]',
    },
}


def evidence(**members: object) -> Json:
    """Return an AlertEvidence record of the same alert."""
    properties: Json = {"AlertId": "da1_-7", "Timestamp": "2026-04-15T09:07:41Z", **members}
    return {**INFO, "category": "AdvancedHunting-AlertEvidence", "properties": properties}


MACHINE: Final = evidence(
    EntityType="Machine", EvidenceRole="Impacted", DeviceId=MDE_ID, DeviceName="ws-7.corp.example"
)
PROCESS: Final = evidence(
    EntityType="Process",
    EvidenceRole="Related",
    DeviceId=MDE_ID,
    FileName="rundll32.exe",
    SHA256=SHA256,
    ProcessCommandLine=LINE,
    AccountName="alice",
    AccountDomain="corp",
    Categories='["DefenseEvasion"]',
    AdditionalFields='{"ProcessId":"8316","CreationTimeUtc":"2026-04-15T09:07:30.5Z"}',
)

MDE: Final[Json] = {
    "id": "da637472900382838869_1364969609",
    "incidentId": 1126093,
    "severity": "Low",
    "category": "Execution",
    "alertCreationTime": "2026-04-15T09:07:41.1234567Z",
    "machineId": MDE_ID,
    "computerDnsName": "ws-7.corp.example",
    "aadTenantId": ENTRA,
    "mitreTechniques": ["T1218.011"],
    "evidence": [
        {"entityType": "User", "accountName": "alice", "domainName": "CORP", "processId": None,
         "userPrincipalName": None, "fileName": None},
        {"entityType": "Process", "sha256": SHA256, "fileName": "rundll32.exe",
         "processId": 8316, "processCommandLine": LINE,
         "processCreationTime": "2026-04-15T09:07:30.5Z"},
    ],
}  # fmt: skip

OLD_GRAPH: Final[Json] = {
    "id": "old-1",
    "azureTenantId": ENTRA,
    "category": "AnonymousLogin",
    "createdDateTime": "2026-04-15T09:07:41.1234567Z",
    "severity": "medium",
    "vendorInformation": {"provider": "IPC", "vendor": "Microsoft"},
    "hostStates": [{"fqdn": "ws-7.corp.example", "netBiosName": "WS-7"}],
    "userStates": [{"userPrincipalName": "alice@corp.example", "accountName": "alice"}],
    "processes": [{"name": "rundll32.exe", "commandLine": LINE, "processId": 8316}],
    "fileStates": [{"fileHash": {"hashType": "sha256", "hashValue": SHA256}}],
}
