"""Measures how fast `verify_audit.py` reads an export, with checkpoints and without.

`python -m benchmarks.verifying [ENTRIES]` takes a minute. Each run is a process of its own, of
which the processor time counts; the kinds alternate, and the median of five is printed. The memory
is the largest of any run: the process says how much it had at most, when it ends.
"""

import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.audit import TENANT
from tests.chain.exports import Log
from vyrox.chain.entry import GENESIS, Scalar, Stream, seal

ENTRIES: Final = 200_000
RUNS: Final = 5
MEDIAN: Final = RUNS // 2

_VERIFIER: Final = Path(__file__).parent.parent / "verify_audit.py"


def main() -> None:
    """Print the figures."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else ENTRIES
    for stream in ("actions", "events"):
        with tempfile.TemporaryDirectory(prefix="vx-verifying-") as name:
            _measure(Path(name), stream, count)


def _measure(directory: Path, stream: Stream, count: int) -> None:
    lines = list(_lines(stream, count))
    path, alone = directory / f"{stream}.ndjson", directory / "alone" / f"{stream}.ndjson"
    path.write_bytes(b"\n".join(lines))
    alone.parent.mkdir()
    alone.hardlink_to(path)
    (directory / f"checkpoint-{stream}.txt").write_bytes(Log().checkpoint(stream, lines))
    (directory / "keys.json").write_bytes(Log().keys())
    kinds = {"links only": (alone, 3), "with a checkpoint": (path, 0)}
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    for _ in range(RUNS):
        for kind, each in kinds.items():
            found[kind].append(_run(*each))
    for kind, runs in found.items():
        seconds, _ = sorted(runs)[MEDIAN]
        memory = max(megabytes for _, megabytes in runs)
        print(f"{stream}, {kind}: {count / seconds:,.0f} entries/s, {memory:.0f} MB")


def _lines(stream: Stream, count: int) -> Iterator[bytes]:
    previous_hash = GENESIS
    for number in range(count):
        members: dict[str, Scalar] = {"tenant_id": TENANT, "host": f"workstation-{number}"}
        if stream == "actions":
            members |= {"action_type": "HOST_ISOLATION", "approved_by": "jane", "dry_run": False}
        else:
            members |= {"kind": "execute.outcome", "request_id": f"request-{number}"}
        sealed = seal(members, previous_hash, 1_704_067_200 + number)
        previous_hash = sealed.hash
        yield sealed.json


_RUN: Final = """\
import runpy, sys
sys.argv[:] = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    status = open("/proc/self/status").read()
    sys.stderr.write(status.split("VmHWM:")[1].split()[0])
"""


def _run(path: Path, expected: int) -> tuple[float, float]:
    """Return the processor time in seconds, and the peak of memory in MB."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    arguments = [sys.executable, "-I", "-c", _RUN, str(_VERIFIER), "--json", str(path)]
    done = subprocess.run(arguments, check=False, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == expected  # noqa: S101  (else the figure is wrong)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, int(done.stderr) / 1000


if __name__ == "__main__":
    main()
