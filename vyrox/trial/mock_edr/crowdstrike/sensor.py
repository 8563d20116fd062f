"""A host's sensor carries out Real Time Response commands.

The texts of `ps` and `kill` are not published. docs/mock-edr.md says where these come from.
"""

from datetime import UTC, datetime, timedelta

from vyrox.trial.mock_edr.exchange import Change
from vyrox.trial.mock_edr.state import CrowdStrike, CrowdStrikeDevice, RtrCommand


def run_queued(state: CrowdStrike) -> tuple[Change, ...]:
    """Run the queued commands of hosts that are online now, and return the changes."""
    changes: tuple[Change, ...] = ()
    for command in state.commands.values():
        device = state.devices[command.device_id]
        if command.is_queued and device.is_online:
            command.is_queued = False
            changes += run(device, command)
    return changes


def run(device: CrowdStrikeDevice, command: RtrCommand) -> tuple[Change, ...]:
    """Run `command`, store its output in it, and return the changes."""
    behavior, name = device.rtr, command.base_command
    command.outputs = [""]
    if name in behavior.never_completes:
        command.never_completes = True
        return ()
    if name in behavior.stderr:
        command.stderr = behavior.stderr[name]
        return ()
    changes: tuple[Change, ...] = ()
    stdout = _list_processes(device)
    if name == "kill":
        stdout, command.stderr, changes = _kill(device, command.command_string)
    stdout = behavior.stdout.get(name, stdout)
    if behavior.is_split:
        middle = len(stdout) // 2
        command.outputs = [stdout[:middle], stdout[middle:]]
    else:
        command.outputs = [stdout]
    return changes


def _kill(device: CrowdStrikeDevice, text: str) -> tuple[str, str, tuple[Change, ...]]:
    argument = text.removeprefix("kill").strip()
    if not (argument.isascii() and argument.isdecimal()):
        return "", "kill: the process id must be a number", ()
    process = device.processes.pop(int(argument), None)
    if process is None:
        return "", f"Cannot find a process with the process identifier {argument}.", ()
    change = Change(device.device_id, "kill", f"{process.pid} {process.name}")
    return f"Process {process.pid} ({process.name}) killed.\r\n", "", (change,)


def _list_processes(device: CrowdStrikeDevice) -> str:
    offset_h = device.rtr.utc_offset_h
    started = f"StartTime (UTC{offset_h:+d})"
    lines = [
        f"{'Name':<24} {'Id':>6} {started:<22} {'WorkingMemory(kb)':>17} {'CPU(s)':>10} Path",
        f"{'----':<24} {'--':>6} {'-' * len(started):<22} {'-' * 17} {'------':>10} ----",
    ]
    for each in sorted(device.processes.values(), key=lambda process: process.name.casefold()):
        at = _as_local(each.started_at, offset_h)
        lines.append(
            f"{each.name:<24} {each.pid:>6} {at:<22} {'12,480':>17} {'0.53':>10} {each.path}"
        )
    return "\r\n".join(lines) + "\r\n"


def _as_local(seconds: float, offset_h: int) -> str:
    at = datetime.fromtimestamp(seconds, UTC) + timedelta(hours=offset_h)
    # As Windows writes it in the United States: no leading zeros in date and hour.
    return f"{at.month}/{at.day}/{at.year} {at.hour % 12 or 12}:{at:%M:%S %p}"
