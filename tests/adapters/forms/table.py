"""What each payload becomes on a path that names the tenant (contract 70)."""

from typing import Final, NamedTuple

from tests.adapters.forms.payloads import AID, BIG, COMPOSITE, LINE, MDE_ID, SHA256
from vyrox.models import EdrVendor

Fields = dict[str, object]


class Ignored(NamedTuple):
    """The payload is a known event that is not a detection."""

    what: str


class Refused(NamedTuple):
    """The payload gets 422, and why."""

    why: str


Result = Fields | Ignored | Refused


class Sample(NamedTuple):
    """One file of `tests/data`.

    Attributes:
        vendor: Whose path it is sent to.
        is_inbound: Whether a vendor, or a relay of its events, sends such a body to a webhook.
        results: What each of its elements becomes.
    """

    vendor: EdrVendor
    is_inbound: bool
    results: tuple[Result, ...]


_UNKNOWN: Final = "not a known form of "
_ONES: Final = "01" * 16
_TANIUM: Final = r"C:\Program Files (x86)\Tanium\Tanium Client\TaniumClient.exe"
_ALERT_1: Final[Fields] = {
    "raw_id": "da637578995287051192_756343937",
    "timestamp": 1619525967.72113,
    "hostname": "tempDns",
    "device_id": "73e7e2de709dff64ef64b1d0c30e67fab63279db",
    "username": "NT AUTHORITY\\SYSTEM",
    "process_name": "MsSense.exe",
    "process_cmdline": '"MsSense.exe"',
    "sha256": "8963a19fb992ad9a76576c5638fd68292cffb9aaac29eb8285f9abf6196a7dec",
    "tactic": "DefenseEvasion",
    "technique": "T1564.001",
    "vendor_severity": "LOW",
    "severity": "low",
    "vendor_group": "28282",
    "process_id": "4780",
    "process_start": 1628772199.077257,
}

SAMPLES: Final[dict[str, Sample]] = {
    "crowdstrike-7": Sample("crowdstrike", True, (
        {
            # An incident of XDR: it has neither a severity nor a host, only the agent's id.
            "raw_id": f"{_ONES}:ind:{_ONES}:xdr|inc-{_ONES[:-1]}2-{_ONES[:-1]}3",
            "timestamp": 1718628885.919,
            "device_id": f"{_ONES[:-1]}2",
            "vendor_group": f"inc:{_ONES[:-1]}2:{_ONES[:-1]}3",
        },
        {
            "raw_id": f"{_ONES}:ind:{_ONES[:-1]}2:010101010101-0101-0101010101",
            "timestamp": 1718625581.214,
            "hostname": "testhost",
            "device_id": f"{_ONES[:-1]}2",
            "username": "testuser",
            "process_name": "TaniumClient.exe",
            "process_cmdline": f'"{_TANIUM}" -u',
            "sha256": "01" * 31 + "05",
            "tactic": "Custom Intelligence",
            "technique": "Indicator of Compromise",
            "vendor_severity": "CRITICAL",
            "severity": "critical",
            "vendor_group": f"aggind:{_ONES[:-1]}2:01010101010",
            "process_id": "8316",
            "process_start": 1718625580.0,
            "vendor_process_id": "173054625122",
        },
    )),
    "crowdstrike-8": Sample("crowdstrike", True, (
        {
            # The customer chose neither an id nor a severity: the link names the detection.
            "raw_id": "EXAMPLE",
            "timestamp": 1_700_000_000.25,
            "hostname": "TESTHOST01",
            "username": "testuser",
            "process_cmdline": "powershell.exe -enc SQBFAFgA",
        },
    )),
    "crowdstrike-9": Sample("crowdstrike", True, (
        {
            "raw_id": "DETECTION ID",
            "timestamp": 1733255670.0,
            "username": "Administrator",
            "process_name": "msedge.exe",
            "process_cmdline": "…",
            "sha256": "0000000000f07f39b17d8c446e27aea75de9f98bea195501e20ed433a7a25469",
            "tactic": "Execution",
            "technique": "User Execution",
            "vendor_severity": "HIGH",
            "severity": "high",
            "process_start": 1733255599.0,
            "vendor_process_id": "90597916092",
        },
    )),
    "crowdstrike-12": Sample("crowdstrike", True, (
        {
            "raw_id": f"{'0' * 32}:ind:00000000006e49842267fc5837c4e2fc:"
            "222222222222222222-33333-444444",
            "timestamp": 1631997532.0,
            "hostname": "macbook",
            "device_id": "0" * 32,
            "username": "bobert",
            "process_name": "pup app",
            "process_cmdline": "/Applications/app.app/Contents/MacOS/pup app",
            "sha256": "00000000009d4244ff0eff80712145e92dfbdc1990483402aca903f70c020e60",
            "tactic": "Malware",
            "technique": "PUP",
            "vendor_severity": "LOW",
            "severity": "low",
            "process_start": 1631997531.0,
            "vendor_process_id": "377077835340488700",
        },
    )),
    "crowdstrike-13": Sample("crowdstrike", False, (Refused(_UNKNOWN),)),
    "sentinelone-7": Sample("sentinelone", True, (
        {
            # Activity 19: a new threat. Its hash is a SHA-1.
            "raw_id": "123456789",
            "timestamp": 1670429335.703,
            "hostname": "BobsPC",
            "device_id": "1111112222233333",
            "process_name": "eicar.txt",
            "severity": "high",
            "notes": ("severity derived by Vyrox from: malicious, Virus",),
        },
    )),
    "sentinelone-8": Sample("sentinelone", True, (
        {
            # Activity 3608: host and process are only in the sentence for people.
            "raw_id": "1570395776954206544",
            "timestamp": 1670434548.0,
            "hostname": "BobsPC",
            "device_id": "1234567",
            "process_name": "sshd",
            "vendor_severity": "E_CRITICAL",
            "severity": "critical",
        },
    )),
    "sentinelone-9": Sample("sentinelone", False, (Refused(_UNKNOWN),)),
    "sentinelone-10": Sample("sentinelone", False, (Refused(_UNKNOWN),)),
    "microsoft-1": Sample("defender", True, (_ALERT_1,)),
    # Change notifications have no alert in them, only its id: the service fetches it.
    "microsoft-2": Sample("defender", True, (Refused(_UNKNOWN),)),
    "microsoft-3": Sample("defender", True, (Refused(_UNKNOWN),) * 5),
    "microsoft-4": Sample("defender", True, (
        {
            "raw_id": "abcd12345efghijk6789",
            "timestamp": 1775053908.438,
            "username": "homer.simpson@corporation.onmicrosoft.com",
            "tactic": "AnonymousLogin",
            "vendor_severity": "MEDIUM",
            "severity": "medium",
        },
    )),
    "microsoft-5": Sample("defender", True, (
        {
            "raw_id": "abcdefg12345hijklmnop",
            "timestamp": 1775246053.725,
            "tactic": "AnonymousLogin",
            "vendor_severity": "HIGH",
            "severity": "high",
        },
    )),
    "microsoft-6": Sample("defender", False, (Refused(_UNKNOWN),)),
    "microsoft-7": Sample("defender", True, (_ALERT_1,)),
    "microsoft-8": Sample("defender", True, (
        {
            # Three devices: the only one with the role `compromised`.
            "raw_id": "da637578995287051192_756343937",
            "timestamp": 1619525967.72113,
            "hostname": "tempDns",
            "device_id": "73e7e2de709dff64ef64b1d0c30e67fab63279db",
            "process_cmdline": '"MsSense.exe"',
            "tactic": "DefenseEvasion",
            "vendor_severity": "UNKNOWNFUTUREVALUE",
            "process_start": 1628772199.077257,
        },
    )),
    "microsoft-10": Sample("defender", False, (Refused(_UNKNOWN),)),
    "microsoft-11": Sample("defender", False, (Refused(_UNKNOWN),)),
    "discord-1": Sample("crowdstrike", False, (Refused(_UNKNOWN),)),
    "discord-2": Sample("crowdstrike", False, (Refused(_UNKNOWN),)),
}  # fmt: skip

_RUNDLL: Final[Fields] = {
    "hostname": "WS-7",
    "device_id": AID,
    "username": "alice",
    "process_name": "rundll32.exe",
    "process_cmdline": LINE,
    "sha256": SHA256,
}
_AT: Final = 1_776_244_061.0

FALCON: Final[dict[str, Result]] = {
    "EPP": {
        **_RUNDLL,
        "raw_id": COMPOSITE,
        "timestamp": _AT + 0.123,
        "tactic": "Defense Evasion",
        "technique": "T1218.011",
        "vendor_severity": "65",
        "severity": "high",
        "vendor_group": f"aggind:{AID}:7718264914188",
        "process_start": 1776244050.0,
        "vendor_process_id": str(BIG),
    },
    "LEGACY": {
        **_RUNDLL,
        "raw_id": f"ldt:{AID}:77",
        "timestamp": _AT + 0.123,
        "tactic": "Malware",
        "technique": "PUP",
        "vendor_severity": "5",
        "severity": "critical",
        "process_start": 1776244050.0,
        "vendor_process_id": str(BIG),
    },
    "IDP": {
        "raw_id": f"{'c1' * 16}:ind:{'c1' * 16}:9f7ae1dc-1111-4b4d-8a3e-d1d2f1b0c0aa",
        "timestamp": _AT + 0.123,
        "hostname": "DC-1",
        "device_id": AID,
        "username": "alice",
        "tactic": "Privilege Escalation",
        "technique": "Valid Accounts",
        "vendor_severity": "2",
        "severity": "low",
    },
    "XDR": {
        "raw_id": f"{'c1' * 16}:ind:{'c1' * 16}:xdr|1",
        "timestamp": _AT + 0.123,
        "device_id": AID,
        "username": "alice",
        "vendor_severity": "80",
        "severity": "critical",
    },
    "MOBILE": {
        "raw_id": str(BIG),
        "timestamp": _AT + 0.123,
        "hostname": "phone-1",
        "device_id": AID,
        "username": "alice",
        "tactic": "Insecure security posture",
        "technique": "Bad device settings",
        "vendor_severity": "90",
        "severity": "critical",
    },
    "LEAD": {
        "raw_id": "lead-1",
        "timestamp": _AT + 0.123,
        "hostname": "WS-7",
        "device_id": AID,
        "vendor_severity": "HIGH",
        "severity": "high",
    },
    "ODS": {
        "raw_id": COMPOSITE,
        "timestamp": _AT + 0.123,
        "hostname": "WS-7",
        "device_id": AID,  # from the composite id
        "vendor_severity": "30",
        "severity": "low",
    },
    "AUDIT": Ignored("UserActivityAuditEvent"),
    "ENTITY": {
        **_RUNDLL,
        "raw_id": COMPOSITE,
        "timestamp": 1776244061.214999,
        "tactic": "Defense Evasion",
        "technique": "T1218.011",
        "vendor_severity": "60",
        "severity": "high",
        "vendor_group": f"aggind:{AID}:77",
        "process_id": "8316",
        "process_start": 1776244050.0,
        "vendor_process_id": "7718264914188",
    },
    "FUSION": {
        **_RUNDLL,
        "raw_id": COMPOSITE,
        "timestamp": _AT,
        "tactic": "Defense Evasion",
        "technique": "T1218.011",
        "vendor_severity": "HIGH",
        "severity": "high",
        "vendor_group": "agg-1",
        "process_id": "8316",
    },
}

_ON_THE_AGENT: Final[Fields] = {
    "hostname": "WS-7",
    "device_id": "1277428815225733296",
    "username": "CORP\\alice",
    "process_name": "rundll32.exe",
    "process_cmdline": LINE,
    "sha256": SHA256,
    "vendor_group": "D6A6C4F1B2E34567",
}

SENTINELONE: Final[dict[str, Result]] = {
    "THREAT": {
        **_ON_THE_AGENT,
        "raw_id": "1402376254913265401",
        "timestamp": _AT + 0.123456,
        "tactic": "Defense Evasion",
        "technique": "T1218.011",
        "severity": "high",
        "notes": ("severity derived by Vyrox from: malicious, Malware",),
    },
    "STAR": {
        **_ON_THE_AGENT,
        "raw_id": str(BIG),
        "timestamp": _AT,
        "vendor_severity": "E_MEDIUM",
        "severity": "medium",
        "process_id": "8316",
        "process_start": 1776244050.0,
        "vendor_process_id": "K1",
    },
    "CLOUD_DETECTION": {
        **_ON_THE_AGENT,
        "raw_id": "1402376254913265777",
        "timestamp": _AT + 0.123456,
        "vendor_severity": "HIGH",
        "severity": "high",
        "process_id": "8316",
        "process_start": 1776244050.0,
        "vendor_process_id": "K1",
    },
    "UNIFIED": {
        "raw_id": "0198b9b4-2f66-7a3c-8b4c-5c2b6c1f0a11",
        "timestamp": _AT + 0.123,
        "hostname": "WS-7",
        "device_id": "bcc0-uuid",
        "username": "CORP\\alice",
        "process_name": "rundll32.exe",
        "sha256": SHA256,
        "vendor_severity": "MEDIUM",
        "severity": "medium",
        "vendor_group": "D6A6C4F1B2E34567",
    },
}

_ON_THE_MACHINE: Final[Fields] = {
    "hostname": "ws-7.corp.example",
    "device_id": MDE_ID,
    "process_name": "rundll32.exe",
    "process_cmdline": LINE,
    "sha256": SHA256,
    "process_id": "8316",
    "process_start": 1776244050.5,
}

DEFENDER: Final[dict[str, Result]] = {
    "INFO": {
        "raw_id": "da1_-7",
        "timestamp": _AT + 0.123456,
        "tactic": "DefenseEvasion",
        "technique": "T1218.011",
        "vendor_severity": "MEDIUM",
        "severity": "medium",
    },
    "PROCESS": {
        **_ON_THE_MACHINE,
        "raw_id": "da1_-7",
        "timestamp": _AT,
        "hostname": None,
        "username": "corp\\alice",
        "tactic": "DefenseEvasion",
    },
    "MDE": {
        **_ON_THE_MACHINE,
        "raw_id": "da637472900382838869_1364969609",
        "timestamp": _AT + 0.123456,
        "username": "CORP\\alice",
        "tactic": "Execution",
        "technique": "T1218.011",
        "vendor_severity": "LOW",
        "severity": "low",
        "vendor_group": "1126093",
    },
    "OLD_GRAPH": {
        **_ON_THE_MACHINE,
        "raw_id": "old-1",
        "timestamp": _AT + 0.123456,
        "device_id": None,
        "username": "alice@corp.example",
        "tactic": "AnonymousLogin",
        "vendor_severity": "MEDIUM",
        "severity": "medium",
        "process_start": None,
    },
}
