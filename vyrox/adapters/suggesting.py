"""A field map for a payload of a product that Vyrox does not know (contract 73).

The names of a payload's members are compared with those that products use, and each value with
what its field takes. A person checks the result.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from vyrox.adapters.probing import Json, Place, leaves, loaded, spelled
from vyrox.adapters.severity import severity_of
from vyrox.models import FieldMap

_MAX_LEAVES: Final = 10_000

_SHA256: Final = re.compile(r"[0-9A-Fa-f]{64}")
_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}.*|[0-9]{10}(?:[0-9]{3})?(?:\.[0-9]+)?")
_NAME: Final = re.compile(r"[^\s/\\@]+")
_HOST: Final = re.compile(r"(?![0-9.]+$)[\w.-]+")
_OTHER: Final = re.compile(r"[^a-z0-9]")

_NAMES: Final[Mapping[str, str]] = {
    "raw_id": """composite_id alert.id alert_id alert.uuid detection.id detection_id detect_id
        finding.id finding_id finding.uid event.id event_id =id =_id =uuid =guid =uid
        incident_id threat_id signature_id id uuid guid uid number""",
    "hostname": """hostname host.name host_name computer_name device.hostname device.name
        device_name device_dns_name computer_dns_name endpoint.name endpoint_name agent.name
        agent_name agent_computer_name machine_name machine.name asset.name server_name dns_name
        fqdn computer host machine device endpoint workstation""",
    "vendor_severity": """severity alert.severity severity_name severity_label severity_text
        threat_level risk_level priority level urgency criticality risk_score score
        severity_id""",
    "device_id": """device.id device_id deviceid agent.id agent_id agentid sensor_id sensor.id
        endpoint.id endpoint_id host.id host_id machine_id machine.id asset_id asset.id aid
        device.uid""",
    "username": """user.name user_name username users.name account_name account.name
        target_user_name logged_on_user process.user process_user user.email user.id user
        account login principal""",
    "process_name": """process.name process_name processname process.executable image_name
        image_file_name file_name file.name process.image process.path image executable exe
        process""",
    "process_cmdline": """command_line commandline process.command_line process.commandline cmdline
        cmd_line process.cmd_line process.args cmd command""",
    "sha256": """sha256 process.hash.sha256 file.hash.sha256 file_sha256 hash.sha256 file_hash
        hash hashes sha256_hash
        sha256_string""",
    "tactic": """threat.tactic.name tactic tactic_name mitre.tactic mitre_tactic attack.tactic
        tactics kill_chain_phase category""",
    "technique": """threat.technique.id technique_id technique technique_name mitre.technique
        mitre_technique attack.technique techniques
        mitre_techniques attack_techniques mitre_id""",
    "timestamp": """@timestamp timestamp event_time event.created created_date_time created_at
        created detected_at detection_time occurred_at event_timestamp time first_seen start_time
        date datetime
        at""",
}
"""Alert field -> the ends of its names, the best one first. After `=` it is the whole name."""

_REQUIRED: Final = ("raw_id", "hostname", "vendor_severity")

_FITS: Final[Mapping[str, Callable[[str], bool]]] = {
    "hostname": lambda text: _HOST.fullmatch(text) is not None,
    "device_id": lambda text: _NAME.fullmatch(text) is not None,
    "vendor_severity": lambda text: severity_of(text) != "unknown",
    "sha256": lambda text: _SHA256.fullmatch(text) is not None,
    "timestamp": lambda text: _TIME.fullmatch(text) is not None,
}


class Suggested(NamedTuple):
    """A field map with the value that each path has in the payload.

    Attributes:
        missing: Required fields for which the payload has nothing that fits.
    """

    field_map: FieldMap
    values: dict[str, str]
    missing: tuple[str, ...]


class _Leaf(NamedTuple):
    place: Place
    names: tuple[str, ...]
    text: str


def suggest(content: bytes) -> Suggested:
    """Return a field map for the payload, or for the first one if it is a list.

    Args:
        content: Valid JSON.

    Raises:
        NormalizationError: It is nested too deeply.
    """
    whole = loaded(content)
    first = next(iter(whole), None) if isinstance(whole, list) else whole
    some = list(_leaves(first))
    field_map: FieldMap = {}
    values: dict[str, str] = {}
    for field, names in _NAMES.items():
        if chosen := _best(field, names.split(), some):
            some.remove(chosen)
            field_map[field] = spelled(chosen.place)
            values[field] = chosen.text
    missing = tuple(field for field in _REQUIRED if field not in field_map)
    return Suggested(field_map, values, missing)


def _leaves(value: Json) -> Iterator[_Leaf]:
    for number, (place, leaf) in enumerate(leaves(value)):
        if number >= _MAX_LEAVES:
            return
        if not isinstance(leaf, bool) and leaf != "" and _is_read_there(place, value):
            folded = [_folded(part) for name in place for part in str(name).split(".")]
            named = [part for part in folded if not part.isdigit()]
            ends = tuple("".join(named[-length:]) for length in range(1, len(named) + 1))
            yield _Leaf(place, ends, str(leaf))


def _is_read_there(place: Place, value: Json) -> bool:
    """Whether the path to `place` leads the generic adapter there, and not elsewhere or nowhere.

    It tries the rest of a path as one key first, and then the part before the first dot.
    """
    if len(spelled(place)) > 256:
        return False
    for depth, part in enumerate(place[:-1]):
        if isinstance(value, dict):
            if "." in str(part) or spelled(place[depth:]) in value:
                return False
            value = value[str(part)]
        elif isinstance(value, list):
            value = value[int(part)]
    return True


def _best(field: str, names: list[str], some: list[_Leaf]) -> _Leaf | None:
    fits = _FITS.get(field, bool)
    fitting = [leaf for leaf in some if fits(leaf.text)]
    # A required field takes any value of a good name, such as a severity in other words.
    for leaves_ in (fitting, some if field in _REQUIRED else []):
        for name in names:
            if named := [leaf for leaf in leaves_ if _has_name(leaf, name)]:
                return min(named, key=lambda leaf: len(leaf.place))
    return None


def _has_name(leaf: _Leaf, name: str) -> bool:
    return _folded(name) in (leaf.names[-1:] if name.startswith("=") else leaf.names)


def _folded(name: str) -> str:
    return _OTHER.sub("", name.lower())
