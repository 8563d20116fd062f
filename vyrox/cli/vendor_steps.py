"""What to do at each vendor so that a tenant's alerts arrive (contract 75).

`vyrox tenant add` prints it with the tenant's URL; `docs/onboarding.md` holds the same templates.
"""

from collections.abc import Callable
from typing import Final

from vyrox.models import Vendor
from vyrox.tenants.webhook_options import FALCON_SIGNATURE, WebhookOptions, header_of

FUSION_BODY: Final = """\
{
  "meta": {"trigger_name": "<Trigger name>"},
  "data": {
    "detections.composite_id": "<Composite ID>",
    "detections.timestamp": "<Time of the detection>",
    "detections.severity_name": "<Severity>",
    "detections.hostname": "<Host name>",
    "detections.agent_id": "<Sensor ID>",
    "detections.user_name": "<User name>",
    "detections.filename": "<File name>",
    "detections.command_line": "<Command line>",
    "detections.sha256": "<SHA-256>",
    "detections.tactic": "<Tactic>",
    "detections.technique": "<Technique>",
    "detections.url": "<Link to the detection>"
  }
}"""
"""For a workflow of Fusion SOAR. What is in angle brackets is one of the workflow's variables."""

SENTINELONE_BODY: Final = """\
{
  "threatInfo": {
    "threatId": "<threatInfo.threatId>",
    "identifiedAt": "<threatInfo.identifiedAt>",
    "confidenceLevel": "<threatInfo.confidenceLevel>",
    "classification": "<threatInfo.classification>",
    "processUser": "<threatInfo.processUser>",
    "filePath": "<threatInfo.filePath>",
    "maliciousProcessArguments": "<threatInfo.maliciousProcessArguments>",
    "sha256": "<threatInfo.sha256>",
    "storyline": "<threatInfo.storyline>"
  },
  "agentRealtimeInfo": {
    "agentComputerName": "<agentRealtimeInfo.agentComputerName>",
    "agentId": "<agentRealtimeInfo.agentId>",
    "accountId": "<agentRealtimeInfo.accountId>"
  }
}"""
"""For a workflow of Hyperautomation. The threat itself, as the API returns it, is as good."""


def steps(vendor: Vendor, tenant_id: str, url: str, options: WebhookOptions) -> list[str]:
    """Return the lines that explain what to do at the vendor.

    Args:
        url: The address of the tenant's own path.
    """
    lines = _PUSH[vendor](tenant_id, url, options)
    if vendor in _PULL:
        lines += ["", f"Or let Vyrox pull the alerts: {_PULL[vendor][0]}"]
        lines += [f"  {line.format(tenant=tenant_id)}" for line in _PULL[vendor][1]]
    return [*lines, "", f"Check it: vyrox tenant check {tenant_id} --vendor {vendor}"]


def _crowdstrike(tenant_id: str, url: str, options: WebhookOptions) -> list[str]:
    lines = [
        "In Falcon:",
        "1. CrowdStrike Store > Webhook: add a configuration with this URL and the secret:",
        f"   {url}",
        "2. Fusion SOAR > Workflows: trigger on a new endpoint detection, and add the action",
        "   Call webhook with that configuration. Send all fields of the detection, or this body:",
        *_indented(FUSION_BODY),
    ]
    if options.signature.startswith("falcon"):
        header = options.signature_header
        if header != FALCON_SIGNATURE:
            lines.append(f"3. Name the signature's header {header} in the configuration.")
        return lines
    return [
        *lines,
        "3. Falcon signs in its own way. Let Vyrox check that signature:",
        f"   vyrox tenant set {tenant_id} --vendor crowdstrike --signature falcon",
    ]


def _sentinelone(_tenant_id: str, url: str, options: WebhookOptions) -> list[str]:
    return [
        "In SentinelOne, Hyperautomation or a webhook of the Singularity Marketplace:",
        "1. Trigger a workflow on a new threat, and add an action that sends an HTTP request:",
        f"   POST {url}",
        "2. With these headers:",
        "   Content-Type: application/json",
        f"   {header_of('sentinelone', options)}",
        "3. And with the threat as the body, or this:",
        *_indented(SENTINELONE_BODY),
    ]


def _defender(_tenant_id: str, url: str, options: WebhookOptions) -> list[str]:
    return [
        "Microsoft does not document a push of Defender for Endpoint's alerts: rather pull them.",
        "A subscription of Microsoft Graph can announce them besides, if your tenant gets one:",
        f"  notificationUrl and lifecycleNotificationUrl  {url}",
        "  clientState                                   the secret",
        "Each alert is then fetched with the credentials below. A relay of your own may also send",
        "alerts as Graph returns them, to the same address:",
        f"  {header_of('defender', options)}",
    ]


def _generic(tenant_id: str, url: str, options: WebhookOptions) -> list[str]:
    return [
        "At the sender:",
        f"1. POST each alert as JSON to {url}",
        f"2. With {header_of('generic', options)}",
        "3. Propose a field map from a sample, check it, and set it:",
        "   vyrox map suggest sample.json > map.json",
        "   vyrox map test sample.json --vendor generic --field-map map.json",
        f"   vyrox tenant field-map {tenant_id} map.json",
    ]


def _indented(text: str) -> list[str]:
    return [f"   {line}" for line in text.splitlines()]


_PUSH: Final[dict[Vendor, Callable[[str, str, WebhookOptions], list[str]]]] = {
    "crowdstrike": _crowdstrike,
    "sentinelone": _sentinelone,
    "defender": _defender,
    "generic": _generic,
}

_PULL: Final[dict[Vendor, tuple[str, tuple[str, ...]]]] = {
    "crowdstrike": (
        "an API client with the scope Alerts: read",
        (
            "vyrox tenant edr set {tenant} --vendor crowdstrike --client-id ID < secret",
            "vyrox tenant poll {tenant} --vendor crowdstrike",
        ),
    ),
    "sentinelone": (
        "a service user whose role may view threats",
        (
            "vyrox tenant edr set {tenant} --vendor sentinelone "
            "--base-url https://NAME.sentinelone.net < token",
            "vyrox tenant poll {tenant} --vendor sentinelone",
        ),
    ),
    "defender": (
        "an app registration with Microsoft Graph's application permission "
        "SecurityAlert.Read.All, and an administrator's consent",
        (
            "vyrox tenant edr set {tenant} --vendor defender --azure-tenant DIRECTORY "
            "--client-id APP < secret",
            "vyrox tenant poll {tenant} --vendor defender",
        ),
    ),
}
"""What the credentials need, and the commands."""
