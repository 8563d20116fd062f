"""The rules about one device: the never-contain list, and the device of an alert (contract 35)."""

from fnmatch import fnmatchcase
from typing import Final, Literal, get_args

from vyrox.models import Device, NormalizedAlert, normal_host

MAX_RULES: Final = 1000
"""Length of a tenant's never-contain list: every containment of the tenant checks all of it."""

RuleKind = Literal["device", "host", "tag"]


def is_of_alert(device: Device, alert: NormalizedAlert | None) -> bool:
    """Return whether `alert` names `device`, by its id or by its host name."""
    if alert is None:
        return False
    if alert.device_id and normal_host(alert.device_id) == normal_host(device.id):
        return True
    if not alert.hostname or not device.hostname:
        return False
    return is_same_name(alert.hostname, device.hostname)


def is_same_name(one: str, other: str) -> bool:
    """Return whether both names mean the same host; one of them may have no domain."""
    host, _, domain = one.lower().partition(".")
    other_host, _, other_domain = other.lower().partition(".")
    return host == other_host and (domain == other_domain or not (domain and other_domain))


def matches(rule: str, device: Device) -> bool:
    """Return whether `rule` applies, or may apply, to `device`.

    In a host name, the rule or the vendor may leave out the domain. If the vendor returns no name,
    or no list of tags, the rule applies.
    """
    kind, _, value = rule.partition(":")
    match kind:
        case "device":
            return value == normal_host(device.id)
        case "host":
            if not device.hostname:
                return True
            name = device.hostname.lower()
            label = value.partition(".")[0]
            if "." not in name and label.strip("*?") and fnmatchcase(name, label):
                return True  # the rule has a domain, the vendor's name has none
            return fnmatchcase(name, value) or fnmatchcase(name.partition(".")[0], value)
        case _:
            if device.tags is None:
                return True
            # A CrowdStrike tag has its kind as prefix: FalconGroupingTags/tier0.
            tags = [tag.lower() for tag in device.tags]
            return any(value in {tag, tag.rpartition("/")[2]} for tag in tags)


def check_rule(text: str) -> str:
    """Return a rule of the never-contain list in the form in which it is stored.

    Raises:
        ValueError: The text is not a rule; the error says what a rule is.
    """
    kind, separator, value = text.partition(":")
    value = value.strip()
    if kind not in get_args(RuleKind) or not separator or not 1 <= len(value) <= 256:
        raise ValueError("must be device:ID, host:PATTERN or tag:TAG, each of 1 to 256 characters")
    return f"{kind}:{normal_host(value) if kind == 'device' else value.lower()}"
