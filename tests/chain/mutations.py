"""Random changes of an export that change what it says, and whether the verifier notices (96).

`benchmarks.mutations` counts a thousand of them, and a test repeats a few.
"""

import io
import json
import random
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tests.approvals.story import Story, proposal
from tests.chain.exports import Lines, Log, hashes, inclusion
from tests.chain.test_verify_approvals import OMARS, by_passkey, whole_story
from tests.chain.test_verify_checkpoints import rechained
from vyrox.chain import verify
from vyrox.chain.entry import Stream
from vyrox.chain.tree import root_of

STREAMS: Final[tuple[Stream, ...]] = ("actions", "events")
OURS: Final = Log(1)
PROOF: Final = ("statement", "credential_id", "client_data", "authenticator_data", "signature")
FIRST: Final = 4
"""The first entry of the actions in an export of a range."""


@dataclass(frozen=True)
class Export:
    """The files of an export. With a proof, the actions begin at FIRST, and no event is there."""

    lines: Lines
    notes: dict[Stream, bytes]
    keys: bytes
    proof: bytes | None = None

    def write(self, directory: Path) -> None:
        for path in directory.iterdir():
            path.unlink()
        for stream, lines in self.lines.items():
            prefix = "audit" if stream == "actions" else "events"
            if lines:
                path = directory / f"{prefix}-2024-01-01.jsonl"
                path.write_bytes(b"".join(line + b"\n" for line in lines))
        for stream, note in self.notes.items():
            (directory / f"checkpoint-{stream}.txt").write_bytes(note)
        (directory / "keys.json").write_bytes(self.keys)
        if self.proof is not None:
            (directory / "proof-actions.json").write_bytes(self.proof)


def story() -> Story:
    """Return chains with several approvals by two persons."""
    told = whole_story()
    told.enrol("omar", OMARS)
    for number in range(6):
        started = {"created_at": told.now, "expires_at": told.now + 900}
        on = proposal(id=f"more-{number}", host=f"host-{number}", **started)
        told.propose(on)
        name = ("jane", "omar")[number % 2]
        decided = told.event("approval.decided", **by_passkey(on, name))
        told.dispatch(on, told.act(on, name), decided)
        told.now += 60
    return told


def signed(lines: Lines, log: Log = OURS) -> Export:
    """Return an export as the owner of a key would make it."""
    notes = {stream: log.checkpoint(stream, lines[stream]) for stream in lines}
    return Export(lines, notes, log.keys())


WHOLE: Final = signed(story().lines)
OTHER: Final = signed(whole_story().lines)
"""Another history of the same tenant."""

RANGE: Final = Export(
    {"actions": WHOLE.lines["actions"][FIRST - 1 :]},
    {"actions": WHOLE.notes["actions"]},
    WHOLE.keys,
    inclusion("actions", WHOLE.lines["actions"], FIRST),
)

Mutation = Callable[[random.Random, Export], Export]


def _with(export: Export, stream: Stream, lines: list[bytes]) -> Export:
    return replace(export, lines={**export.lines, stream: lines})


def _stream(rng: random.Random, export: Export) -> Stream:
    return rng.choice([stream for stream in STREAMS if export.lines.get(stream)])


def flipped(rng: random.Random, data: bytes) -> bytes:
    bit = rng.randrange(len(data) * 8)
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def flip(rng: random.Random, export: Export) -> Export:
    stream = _stream(rng, export)
    lines = export.lines[stream][:]
    at = rng.randrange(len(lines))
    lines[at] = flipped(rng, lines[at])
    return _with(export, stream, lines)


def delete(rng: random.Random, export: Export) -> Export:
    stream = _stream(rng, export)
    lines = export.lines[stream][:]
    del lines[rng.randrange(len(lines))]
    return _with(export, stream, lines)


def insert(rng: random.Random, export: Export) -> Export:
    stream = _stream(rng, export)
    lines = export.lines[stream][:]
    lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
    return _with(export, stream, lines)


def swap(rng: random.Random, export: Export) -> Export:
    stream = _stream(rng, export)
    lines = export.lines[stream][:]
    if len(lines) > 1:
        one, other = rng.sample(range(len(lines)), 2)
        lines[one], lines[other] = lines[other], lines[one]
    return _with(export, stream, lines)


def splice(rng: random.Random, export: Export) -> Export:
    """Continue with another history."""
    stream = _stream(rng, export)
    at = rng.randrange(len(export.lines[stream]))
    return _with(export, stream, export.lines[stream][:at] + OTHER.lines[stream][at:])


def cut(rng: random.Random, export: Export) -> Export:
    stream = _stream(rng, export)
    return _with(export, stream, export.lines[stream][: rng.randrange(len(export.lines[stream]))])


def rechain(rng: random.Random, export: Export) -> Export:
    """Change, remove or double an entry, and make every hash after it again."""
    stream = _stream(rng, export)
    lines = export.lines[stream]
    at = rng.randrange(len(lines))
    how = rng.choice(["change", "remove", "double"])
    if how == "change":
        name = rng.choice(sorted(json.loads(lines[at]).keys() - {"hash", "previous_hash"}))
        value = json.loads(lines[at])[name]
        changes = {name: f"{value}x" if isinstance(value, str) else "x" if value is None else 1}
        return _with(export, stream, rechained(lines, at, **changes))
    after = lines[at + 1 :] if how == "remove" else lines[at:]
    linked = [*lines[: at + (how == "double")], *after]
    if how == "remove":
        return _with(export, stream, rechained(linked, at) if at < len(linked) else linked)
    return _with(export, stream, rechained(linked, at + 1, previous_hash=_hash(lines[at])))


def _hash(line: bytes) -> str:
    return str(json.loads(line)["hash"])


def resign(rng: random.Random, export: Export) -> Export:
    """Do something else with the entries, and sign the result with the log's own key."""
    changed = rng.choice([rechain, cut, splice])(rng, export)
    if export.proof is not None:
        return changed
    return signed(changed.lines)


def forge(rng: random.Random, export: Export) -> Export:
    """The same with a key of the attacker's, which keys.json then names."""
    changed = rng.choice([rechain, cut])(rng, export)
    return replace(signed(changed.lines, Log(2)), proof=export.proof)


def _decisions(rng: random.Random, lines: list[bytes], differ: str) -> tuple[int, int] | None:
    """Return the numbers of two decisions by passkey, of which the second gets a wrong proof."""
    entries = [json.loads(line) for line in lines]
    found = [number for number, each in enumerate(entries) if each.get("proof") == "webauthn"]
    pairs = [
        (one, other)
        for one in found
        for other in found
        if (entries[one]["approver"] != entries[other]["approver"]) == (differ == "approver")
        and one != other
    ]
    return rng.choice(pairs) if pairs else None


def _other_proof(rng: random.Random, export: Export, differ: str) -> Export:
    lines = export.lines.get("events", [])
    pair = _decisions(rng, lines, differ)
    if pair is None:
        return export
    proof = {name: json.loads(lines[pair[0]])[name] for name in PROOF}
    members = proof if rng.random() < 0.5 else {name: proof[name] for name in rng.sample(PROOF, 1)}
    changed = _with(export, "events", rechained(lines, pair[1], **members))
    return signed(changed.lines)


def other_action(rng: random.Random, export: Export) -> Export:
    """Take the proof of a decision on another action; all is chained and signed again."""
    return _other_proof(rng, export, "action")


def other_person(rng: random.Random, export: Export) -> Export:
    """Take the proof of another person's decision; all is chained and signed again."""
    return _other_proof(rng, export, "approver")


def checkpoint(rng: random.Random, export: Export) -> Export:
    """Change a checkpoint beside the export, or sign a false one."""
    stream = _stream(rng, export)
    note, lines = export.notes[stream], WHOLE.lines[stream]
    if rng.random() < 0.5:
        return replace(export, notes={**export.notes, stream: flipped(rng, note)})
    size, at = rng.randrange(1, len(lines) + 3), rng.randrange(len(lines))
    false = root_of(hashes(rechained(lines, at, tenant_id="x"))[: max(size, at + 1)])
    return replace(export, notes={**export.notes, stream: OURS.sign(stream, size, false)})


def inclusion_proof(rng: random.Random, export: Export) -> Export:
    """Change the proof of a range."""
    if export.proof is None:
        return export
    if rng.random() < 0.5:
        return replace(export, proof=flipped(rng, export.proof))
    members = json.loads(export.proof)
    name = rng.choice(["entry", "size", "proof", "hash", "root"])
    if isinstance(members[name], int):
        members[name] += rng.choice([-2, -1, 1, 2, 4])
    elif name == "proof":
        members[name] = rng.choice([members[name][1:], members[name][::-1], members[name] * 2])
    else:
        members[name] = json.loads(inclusion("actions", WHOLE.lines["actions"], FIRST + 1))["hash"]
    return replace(export, proof=json.dumps(members).encode())


MUTATIONS: Final[tuple[Mutation, ...]] = (
    flip,
    delete,
    insert,
    swap,
    splice,
    cut,
    rechain,
    resign,
    forge,
    other_action,
    other_person,
    checkpoint,
    inclusion_proof,
)


def meaning(export: Export) -> object:
    """Return what an export says: bytes that no JSON reader distinguishes say the same."""
    lines = {stream: list(map(_read, of)) for stream, of in export.lines.items()}
    proof = None if export.proof is None else _read(export.proof)
    return lines, export.notes, export.keys, proof


def _read(data: bytes) -> object:
    try:
        return repr(json.loads(data))
    except ValueError:
        return data


@dataclass(frozen=True)
class Mutated:
    """A changed export, and the number of the first entry that differs, for each stream."""

    kind: str
    original: Export
    export: Export

    def touched(self, stream: Stream) -> int | None:
        before = [_read(line) for line in self.original.lines.get(stream, [])]
        after = [_read(line) for line in self.export.lines.get(stream, [])]
        first = FIRST if self.original.proof is not None else 1
        differs = [one != other for one, other in zip(before, after, strict=False)]
        if True in differs:
            return first + differs.index(True)
        return None if len(before) == len(after) else first + len(differs)


def draw(rng: random.Random) -> Mutated:
    """Return a random change that changes what an export says."""
    while True:
        kind = rng.choice(MUTATIONS)
        original = RANGE if kind is inclusion_proof or rng.random() < 0.1 else WHOLE
        export = kind(rng, original)
        if meaning(export) != meaning(original):
            return Mutated(kind.__name__, original, export)


def status(directory: Path, *options: str) -> int:
    """Return the exit status of the verifier, which must not fail in another way."""
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out):
        return verify.main([*options, str(directory)])


def links_hold(export: Export, directory: Path) -> bool:
    """Return whether the links alone show nothing."""
    export.write(directory)
    try:
        for stream in export.lines:
            prefix = "audit" if stream == "actions" else "events"
            if any(directory.glob(f"{prefix}-*")):
                verify.verify_path(str(directory), prefix=prefix)
    except verify.TamperedError:
        return False
    return True


def with_kept(mutated: Mutated, directory: Path, sizes: dict[Stream, int]) -> int:
    """Return the exit status if checkpoints of these sizes were kept."""
    mutated.export.write(directory)
    options = []
    for stream, size in sizes.items():
        if stream in mutated.original.lines:
            kept = directory / f"kept-{stream}"
            kept.write_bytes(OURS.checkpoint(stream, WHOLE.lines[stream][:size]))
            options.append(f"--checkpoint={kept}")
    return status(directory, *options)
