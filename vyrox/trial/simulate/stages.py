"""What a scenario is made of."""

import base64
import hashlib

import msgspec

from vyrox.models import Vendor
from vyrox.trial.company import Host


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


def encoded(options: str, script: str) -> str:
    """Return the command line that lets PowerShell run a script that cannot be read in it."""
    text = base64.b64encode(script.encode("utf-16-le")).decode()
    return f"powershell.exe -NoProfile {options} -EncodedCommand {text}"
