"""Measures how large proofs of approvals are, and what it costs an auditor to check 1,000 of them.

`python -m benchmarks.proofs` takes some seconds. Each export has 1,000 actions: a proposal, a
decision and a dispatch for each, by four persons with a key each, or with an account at Discord.
`verify_audit.py --approvals` checks it in a process of its own, of which the processor time counts.
"""

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from tests.approvals.authenticator import Authenticator
from tests.approvals.story import (
    DISCORD_USER,
    START,
    Discord,
    Story,
    canonical,
    digest,
    proposal,
    raw_decision,
)
from vyrox.approvals import passkeys

PROOFS: Final = 1000
PERSONS: Final = 4

DISCORD_ADDS: Final = 1_400
"""Bytes of a real interaction beside what tests send: names, avatars, roles, flags, locale."""

_VERIFIER: Final = Path(__file__).parent.parent / "verify_audit.py"


def main() -> None:
    """Print the figures."""
    measure()


def measure() -> None:
    """Print the size of a proof, and the time for 1,000, of each kind."""
    for kind in ("ES256", "EdDSA", "RS256", "Discord"):
        story, sizes = _written(kind)
        with tempfile.TemporaryDirectory(prefix="vx-proofs-") as directory:
            paths = story.write(Path(directory))
            took = sorted(_seconds(paths) for _ in range(3))
            total = sum(Path(path).stat().st_size for path in paths)
        print(
            f"{kind}: a decision of {sorted(sizes)[PROOFS // 2]} bytes in the log; "
            f"{PROOFS} actions, {total / 1e6:.1f} MB, are checked in {took[1]:.2f} s"
        )


def _written(kind: str) -> tuple[Story, list[int]]:
    """Return chains with PROOFS actions, and the sizes of the decisions."""
    story, discord = Story(), Discord()
    names = [f"person-{number}" for number in range(PERSONS)]
    made = {}
    for number, name in enumerate(names):
        is_discord = kind == "Discord"
        story.approver(name, str(int(DISCORD_USER) + number) if is_discord else None)
        if not is_discord:
            made[name] = Authenticator(kind, f"credential-{number}".encode() * 2)
            story.enrol(name, made[name])
    story.event("discord.configured", **discord.configured)
    sizes = []
    for number in range(PROOFS):
        on = proposal(id=f"{number:08}-7c3f-4e0b-9a55-0d0a3f7f1c11", host=f"{number:032x}")
        index = number % PERSONS
        name = names[index]
        story.propose(on)
        if kind == "Discord":
            decision = {**discord.decision(on, _click(discord, on, index)), "approver": name}
        else:
            decision = _signed(on, name, made[name])
        decided = story.event("approval.decided", **decision)
        sizes.append(len(story.lines["events"][-1]))
        story.dispatch(on, story.act(on, name), decided)
    return story, sizes


def _click(discord: Discord, on: dict[str, Any], index: int) -> dict[str, Any]:
    """Return a click of the size of a real one."""
    body = discord.click(on)
    body["member"]["user"]["id"] = str(int(DISCORD_USER) + index)
    body["member"]["roles"] = ["x" * DISCORD_ADDS]
    return body


def _signed(on: dict[str, Any], name: str, authenticator: Authenticator) -> dict[str, Any]:
    sha256 = digest(canonical(on))
    statement = passkeys.new_statement(sha256, "approve", name, "", START + 5)
    response = authenticator.get(passkeys.challenge(statement))
    return raw_decision(response, statement, on["id"])


def _seconds(paths: list[str]) -> float:
    """Return the processor time of a whole run of the verifier."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    arguments = [sys.executable, "-I", str(_VERIFIER), "--json", "--approvals", *paths]
    done = subprocess.run(arguments, check=False, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    report = json.loads(done.stdout)
    proven = sum(bool(each["proven"]) for each in report["actions"])
    assert (proven, report["failures"]) == (PROOFS, [])  # noqa: S101  (else the figure is wrong)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
