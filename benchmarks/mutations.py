"""Counts which of 1,000 random changes of an export `verify_audit.py` notices.

`python -m benchmarks.mutations [COUNT] [SEED]` takes some minutes. Each change changes what an
entry, an event, a proof or a checkpoint says: a bit, an entry deleted, doubled, moved, another
history, the end missing, the chain made again, signed again with the log's key or with another one,
the proof of another action or another person. Each is verified

- with kept checkpoints of the last entries;
- with kept checkpoints of n entries, at random; those changes count that touch entries 1 to n;
- with what lies beside the export: its checkpoint, signed with a key that keys.json names;
- without a checkpoint: links and approvals, of exports that begin with entry 1;
- by its links alone, of the same exports.

A change that the verifier should notice and does not is printed.
"""

import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.chain.mutations import (
    MUTATIONS,
    RANGE,
    STREAMS,
    WHOLE,
    Mutated,
    draw,
    links_hold,
    status,
    with_kept,
)

MISSED = (0, 3)
"""The exit codes of an export in which nothing wrong was found."""


def main() -> None:
    """Print the figures."""
    count, seed = (int(each) for each in [*sys.argv[1:], "1000", "1"][:2])
    rng = random.Random(seed)  # noqa: S311  (the changes must be the same again)
    found: dict[str, Counter[str]] = {each.__name__: Counter() for each in MUTATIONS}
    with tempfile.TemporaryDirectory(prefix="vx-mutations-") as name:
        directory = Path(name)
        for export in (WHOLE, RANGE):
            export.write(directory)
            print(f"unchanged: exit status {status(directory)}")
        for _ in range(count):
            _count(rng, draw(rng), directory, found)
    total = sum(found.values(), Counter())
    columns = ("drawn", "last", "1 to n", "n", "beside", "whole", "approvals", "links")
    print(f"{'':16}" + "".join(f"{each:>11}" for each in columns))
    for kind, counts in [*found.items(), ("all", total)]:
        print(f"{kind:16}" + "".join(f"{counts[each]:11}" for each in columns))


def _count(
    rng: random.Random, mutated: Mutated, directory: Path, found: dict[str, Counter[str]]
) -> None:
    counts = found[mutated.kind]
    counts["drawn"] += 1
    whole = {stream: len(WHOLE.lines[stream]) for stream in STREAMS}
    if with_kept(mutated, directory, whole) not in MISSED:
        counts["last"] += 1
    else:
        print(f"missed with the last checkpoint: {mutated.kind}")
    sizes = {stream: rng.randint(1, whole[stream]) for stream in STREAMS}
    touched = {stream: mutated.touched(stream) for stream in STREAMS}
    if any(at is not None and at <= sizes[stream] for stream, at in touched.items()):
        counts["1 to n"] += 1
        if with_kept(mutated, directory, sizes) not in MISSED:
            counts["n"] += 1
        else:
            print(f"missed with a checkpoint that covers it: {mutated.kind}")
    mutated.export.write(directory)
    counts["beside"] += status(directory) not in MISSED
    if mutated.export.proof is None:
        counts["whole"] += 1
        counts["links"] += not links_hold(mutated.export, directory)
        for path in directory.iterdir():
            if path.suffix != ".jsonl":
                path.unlink()
        counts["approvals"] += status(directory) not in MISSED


if __name__ == "__main__":
    main()
