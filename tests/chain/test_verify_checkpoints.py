"""`verify_audit.py` with checkpoints: no entry is missing, and none was replaced (contract 96)."""

import base64
import hashlib
import html.parser
import io
import json
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.approvals.story import Story, canonical
from tests.chain.exports import (
    LOG,
    NOW,
    Lines,
    Log,
    Witness,
    b64,
    consistency,
    inclusion,
)
from tests.chain.test_verify import action, chain, event, run_process
from tests.chain.test_verify_approvals import whole_story
from vyrox.chain import tree, verify
from vyrox.chain.verify import RefusedProofError

STORY: Final = whole_story()
ACTIONS: Final = chain(12)
EVENTS: Final = chain(12, event)
OURS: Final = Log()
WITNESS: Final = Witness("witness.example/w1", 7)


def run(*arguments: str) -> tuple[int, dict[str, Any], str]:
    """Return the exit status, the JSON object, and the text for people."""
    (status, text), (also, encoded) = printed(*arguments), printed("--json", *arguments)
    document = json.loads(encoded)
    assert status == also == document["status"]
    return status, document, text


def printed(*arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out):
        status = verify.main(arguments)
    assert out.getvalue().isascii()
    return status, out.getvalue()


def kept(directory: Path, note: bytes, name: str = "kept.txt") -> str:
    path = directory / name
    path.write_bytes(note)
    return f"--checkpoint={path}"


def rechained(lines: Sequence[bytes], at: int, **changes: object) -> list[bytes]:
    """Change an entry, counted from 0, and make every hash after it again."""
    changed: list[bytes] = []
    previous_hash = json.loads(lines[at])["previous_hash"]
    for number, line in enumerate(lines[at:], at):
        entry = json.loads(line) | (changes if number == at else {})
        entry["previous_hash"] = previous_hash
        del entry["hash"]
        previous_hash = hashlib.sha256(f"{previous_hash}|{canonical(entry)}".encode()).hexdigest()
        changed.append(canonical(entry | {"hash": previous_hash}).encode())
    return [*lines[:at], *changed]


def problems(document: dict[str, Any]) -> str:
    return " ".join(map(str, document["checkpoint_problems"]))


# A directory with everything


def test_a_whole_directory_is_verified_contract_96(tmp_path: Path) -> None:
    directory = OURS.write(tmp_path / "export", STORY.lines, [WITNESS])
    status, document, text = run(directory)
    assert (status, document["result"]) == (0, "approvals hold")
    assert "    PROVEN by passkey ('jane') and Discord ('omar')\n" in text
    assert "PROVEN: the actions 1 to 7 are those of 'checkpoint-actions.txt'" in text
    assert f"PROVEN: the events 1 to {len(STORY.lines['events'])} are those of" in text
    assert "NOT PROVEN: that the log's key is Vyrox's own" in text
    assert "    co-signed by 'witness.example/w1', key " in text
    signers = document["checkpoints"][0]["signers"]
    assert [(each["is_log"], each["time"]) for each in signers] == [(True, None), (False, NOW)]
    assert [each["proven"] for each in document["actions"]].count([]) == 4


def test_a_file_is_verified_with_the_checkpoint_beside_it_contract_96(tmp_path: Path) -> None:
    """Also alone, as an auditor runs it."""
    for stream, lines in (("actions", ACTIONS), ("events", EVENTS)):
        path = tmp_path / f"{stream}.json"
        path.write_bytes(b"[" + b",".join(lines) + b"]")
        note = OURS.checkpoint(stream, lines)  # type: ignore[arg-type]
        (tmp_path / f"checkpoint-{stream}.txt").write_bytes(note)
    assert run(str(tmp_path / "actions.json"))[0] == 3
    assert "no known key has signed it" in run(str(tmp_path / "actions.json"))[2]
    (tmp_path / "keys.json").write_bytes(OURS.keys())
    for stream in ("actions", "events"):
        status, document, text = run(str(tmp_path / f"{stream}.json"))
        assert (status, document["result"]) == (0, "verified")
        assert f"PROVEN: the {stream} 1 to 12 are those of" in text
    done = run_process(str(tmp_path / "actions.json"))
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_older_checkpoint_verifies_and_says_how_far_it_reaches(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\n".join(ACTIONS))
    for size in (1, 2, 7, 8, 11, 12):
        option = kept(tmp_path, OURS.checkpoint("actions", ACTIONS[:size]))
        status, document, text = run(str(tmp_path / "a.json"), option)
        assert (status, document["result"]) == (0, "verified")
        assert f"PROVEN: the actions 1 to {size} are those of" in text
        rest = f"NOT PROVEN: the actions {size + 1} to 12: the newest checkpoint has {size} entries"
        assert (rest in text) == (size < 12)
    status, _, text = run(str(tmp_path / "a.json"), kept(tmp_path, OURS.checkpoint("actions", [])))
    assert status == 3  # a checkpoint of nothing shows nothing


def test_what_no_kept_checkpoint_reaches_is_said_not_to_be_proven(tmp_path: Path) -> None:
    """The operator may have rewritten it and signed it again, whatever lies beside the export."""
    directory = OURS.write(tmp_path / "export", STORY.lines, [WITNESS])
    count = len(STORY.lines["events"])
    option = kept(tmp_path, OURS.checkpoint("events", STORY.lines["events"][:1]))
    replaced = "NOT PROVEN: that the events {}were not replaced before this export was made"
    _, _, text = run(directory, option)
    assert replaced.format(f"2 to {count} ") in text
    keys = tmp_path / "keys.txt"
    keys.write_text(f"{OURS.key}\n{WITNESS.key}\n")
    _, _, text = run(directory, f"--keys={keys}")  # the witness is known from elsewhere
    assert f"NOT PROVEN: which events followed after entry {count}" in text
    assert "were not replaced" not in text
    keys.write_text(OURS.key)
    assert replaced.format("") in run(directory, f"--keys={keys}")[2]


def test_a_checkpoint_without_a_known_key_says_what_to_give(tmp_path: Path) -> None:
    directory = Path(OURS.write(tmp_path / "export", STORY.lines))
    (directory / "keys.json").unlink()
    status, _, text = run(str(directory))
    assert status == 3
    assert "Give what `vyrox audit key` prints with --keys" in text
    (directory / "keys.json").write_text("{")
    assert run(str(directory))[2].count("FAILED: keys.json") == 1


def test_any_number_of_kept_checkpoints_is_compared(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\n".join(ACTIONS))
    options = [
        kept(tmp_path, OURS.checkpoint("actions", ACTIONS[:size]), f"{size}") for size in range(13)
    ]
    assert run(str(tmp_path / "a.json"), *options)[0] == 0
    (tmp_path / "a.json").write_bytes(b"\n".join(rechained(ACTIONS, 8, host="other")))
    status, document, text = run(str(tmp_path / "a.json"), *options)
    assert (status, document["result"]) == (1, "checkpoint refused")
    assert [each["problem"] is None for each in document["checkpoints"]] == [True] * 9 + [False] * 4
    assert "PROVEN: the actions 1 to 8 are those of" in text


def attacked(directory: Path, lines: Lines, log: Log | None) -> str:
    """Replace an export by another one; with the log's key, sign that too."""
    for path in directory.iterdir():
        if log is not None or path.suffix == ".jsonl":
            path.unlink()
    if log is not None:
        return log.write(directory, lines)
    spare = directory.with_name("spare")
    OURS.write(spare, lines)
    for path in spare.glob("*.jsonl"):
        path.rename(directory / path.name)
    return str(directory)


CUT: Final[dict[str, Lines]] = {
    "cut": {**STORY.lines, "actions": STORY.lines["actions"][:-1]},
    "rewritten": {**STORY.lines, "actions": rechained(STORY.lines["actions"], 0, host="other")},
    "added to": {
        **STORY.lines,
        "actions": [
            *STORY.lines["actions"],
            *rechained([*STORY.lines["actions"][-1:]], 0, host="x"),
        ],
    },
    "emptied": {**STORY.lines, "actions": []},
    "robbed of its events": {**STORY.lines, "events": []},
}


@pytest.mark.parametrize("how", CUT)
@pytest.mark.parametrize("log", [None, OURS, Log(2)], ids=["unsigned", "key stolen", "own key"])
def test_a_log_that_was_replaced_does_not_pass_contract_96(
    tmp_path: Path, how: str, log: Log | None
) -> None:
    """With kept checkpoints of the last entries, whatever the attacker can sign."""
    directory = tmp_path / "export"
    OURS.write(directory, STORY.lines)
    options = [
        kept(tmp_path, (directory / f"checkpoint-{stream}.txt").read_bytes(), stream)
        for stream in verify.STREAMS
    ]
    attacked(directory, CUT[how], log)
    assert run(str(directory), *options)[0] in ((0, 1) if how == "added to" and log else (1,))


def test_the_events_cannot_be_left_out_if_their_checkpoint_was_kept(tmp_path: Path) -> None:
    directory = Path(OURS.write(tmp_path / "export", STORY.lines))
    note = (directory / "checkpoint-events.txt").read_bytes()
    for path in directory.glob("*events*"):
        path.unlink()
    status, _, text = run(str(directory), kept(tmp_path, note))
    assert status == 2
    assert "is of the events, the export is not" in text


# Signatures and keys


def test_a_checkpoint_of_another_key_does_not_count_contract_96(tmp_path: Path) -> None:
    directory = Path(Log(2).write(tmp_path / "export", STORY.lines))
    keys = tmp_path / "keys.txt"
    keys.write_text(f"# ours\n{OURS.key}\n")
    status, document, _ = run(str(directory), f"--keys={keys}")
    assert status == 1
    assert "no key of the log in the file of keys has signed it" in problems(document)
    OURS.write(directory, STORY.lines)
    status, document, text = run(str(directory), f"--keys={keys}")
    assert status == 0
    assert "Vyrox's own" not in text


def test_a_wrong_signature_of_a_known_key_is_refused(tmp_path: Path) -> None:
    directory = Path(OURS.write(tmp_path / "export", STORY.lines, [WITNESS]))
    path = directory / "checkpoint-actions.txt"
    right = path.read_text()
    for which in (0, 1):
        lines = right.split("\n")
        name, encoded = lines[4 + which].rsplit(" ", 1)
        data = bytearray(base64.b64decode(encoded))
        data[-1] ^= 1
        lines[4 + which] = f"{name} {b64(bytes(data))}"
        path.write_text("\n".join(lines))
        status, document, _ = run(str(directory))
        assert status == 1
        assert "is wrong" in problems(document)


def test_a_witness_alone_does_not_speak_for_the_log(tmp_path: Path) -> None:
    directory = Path(OURS.write(tmp_path / "export", STORY.lines, [WITNESS]))
    path = directory / "checkpoint-actions.txt"
    lines = path.read_text().split("\n")
    path.write_text("\n".join([*lines[:4], *lines[5:]]))
    status, document, _ = run(str(directory))
    assert status == 1
    assert "no key of the log" in problems(document)


def test_the_keys_of_witnesses_may_be_known_alone(tmp_path: Path) -> None:
    directory = Path(OURS.write(tmp_path / "export", STORY.lines, [WITNESS]))
    (directory / "keys.json").write_bytes(OURS.keys())
    keys = tmp_path / "keys.txt"
    keys.write_text(WITNESS.key)
    status, _, text = run(str(directory), f"--keys={keys}")
    assert status == 0
    assert "co-signed by 'witness.example/w1'" in text
    assert "Vyrox's own" in text


def test_a_witness_may_have_two_keys_under_one_name_contract_104(tmp_path: Path) -> None:
    """While its key is changed. Each reader's key is enough, and so is what was kept before."""
    new = Witness(WITNESS.name, 8)
    directory = OURS.write(tmp_path / "export", STORY.lines, [WITNESS, new])
    before = kept(tmp_path, OURS.checkpoint("actions", STORY.lines["actions"][:1], [WITNESS]))
    keys = tmp_path / "keys.txt"
    for known, seen in (([WITNESS], 3), ([new], 2), ([WITNESS, new], 5)):
        keys.write_text("\n".join([OURS.key, *(each.key for each in known)]))
        status, _, text = run(directory, f"--keys={keys}", before)
        assert status == 0
        assert text.count("co-signed by 'witness.example/w1'") == seen


def test_the_time_that_the_log_signs_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\n".join(ACTIONS))
    (tmp_path / "keys.json").write_bytes(OURS.keys())
    option = kept(tmp_path, OURS.checkpoint("actions", ACTIONS, at=NOW))
    status, _, text = run(str(tmp_path / "a.json"), option)
    assert status == 0
    assert f"signed by the log, key {text.split(', key ')[1][:8]}\n" in text
    assert "at 2024-01-01T09:06:40Z\n" in text


def test_a_new_key_is_followed_from_the_old_one_contract_96(tmp_path: Path) -> None:
    old, new, stranger = Log(3), Log(4), Log(5)
    keys = tmp_path / "keys.txt"
    keys.write_text(old.key)
    for by, expected in ((old, 0), (stranger, 1)):
        new.successions = [by.succeeded_by(new)]
        directory = new.write(tmp_path / "export", STORY.lines)
        assert run(directory, f"--keys={keys}")[0] == expected
    forged = old.succeeded_by(new).splitlines()
    forged[2] = b64(bytes([1]) + stranger.public)  # the signature is that of another text
    stranger.successions = ["\n".join([*forged, ""])]
    assert run(stranger.write(tmp_path / "export", STORY.lines), f"--keys={keys}")[0] == 1
    stranger.successions = []
    last = Log(6)
    last.successions = [old.succeeded_by(new), new.succeeded_by(last)]
    assert run(last.write(tmp_path / "export", STORY.lines), f"--keys={keys}")[0] == 0


def test_keys_json_may_be_the_file_of_keys_and_pins_the_approvers(tmp_path: Path) -> None:
    directory = Path(OURS.write(tmp_path / "export", STORY.lines))
    enrolled = [json.loads(line) for line in STORY.lines["events"]]
    approvers = [
        {"approver": each["approver"], "thumbprint": verify.check_key(each).thumbprint}
        for each in enrolled
        if each["kind"] == "approver.key_added"
    ]
    discord = [
        {"public_key": each["public_key"]}
        for each in enrolled
        if each["kind"] == "discord.configured"
    ]
    mine = tmp_path / "mine.json"
    mine.write_bytes(OURS.keys(approvers=approvers, discord=discord))
    assert run(str(directory), f"--keys={mine}")[0] == 0
    mine.write_bytes(OURS.keys(approvers=[], discord=discord))
    status, _, text = run(str(directory), f"--keys={mine}")
    assert status == 1
    assert "is not in the file of keys" in text
    (directory / "keys.json").write_bytes(OURS.keys(approvers=approvers, discord=discord))
    assert run(str(directory))[0] == 0
    strange = [{"approver": "jane", "thumbprint": "A" * 43}]
    (directory / "keys.json").write_bytes(OURS.keys(approvers=strange))
    status, document, _ = run(str(directory))
    assert status == 1
    assert "no event enrolled" in problems(document)


# Forks


def test_two_checkpoints_of_one_size_prove_a_fork_contract_96(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\n".join(ACTIONS))
    (tmp_path / "keys.json").write_bytes(OURS.keys())
    one = OURS.checkpoint("actions", ACTIONS)
    other = OURS.checkpoint("actions", rechained(ACTIONS, 5, host="other"))
    options = [kept(tmp_path, one, "one"), kept(tmp_path, other, "other")]
    status, document, text = run(str(tmp_path / "a.json"), *options)
    assert status == 1
    assert [note.encode() for note in document["forks"][0]] == [one, other]
    assert "FORK: " in text
    for note in (one, other):
        for line in note.decode().replace("\u2014", "\\u2014").split("\n"):
            assert line in text


# Ranges


def ranged(directory: Path, first: int, checkpoint: bytes | None = None) -> str:
    path = directory / "range.jsonl"
    path.write_bytes(b"\n".join(ACTIONS[first - 1 :]))
    (directory / "proof-actions.json").write_bytes(inclusion("actions", ACTIONS, first))
    note = checkpoint or OURS.checkpoint("actions", ACTIONS)
    (directory / "checkpoint-actions.txt").write_bytes(note)
    (directory / "keys.json").write_bytes(OURS.keys())
    return str(path)


@pytest.mark.parametrize("first", [1, 2, 3, 5, 8, 12])
def test_a_range_is_verified_with_an_inclusion_proof_contract_96(
    tmp_path: Path, first: int
) -> None:
    path = ranged(tmp_path, first)
    status, document, text = run(path)
    assert (status, document["result"], document["first_entry"]) == (0, "verified", first)
    assert f"PROVEN: the actions {first} to 12 are those of" in text
    within = kept(tmp_path, OURS.checkpoint("actions", ACTIONS[: max(first, 11)]))
    assert run(path, within)[0] == 0
    if first > 2:
        older = kept(tmp_path, OURS.checkpoint("actions", ACTIONS[: first - 2]))
        assert "no consistency proof" in problems(run(path, older)[1])
        proof = tmp_path / "older.json"
        proof.write_bytes(consistency("actions", ACTIONS, first - 2))
        assert run(path, older, f"--proof={proof}")[0] == 0
        other = kept(
            tmp_path,
            OURS.checkpoint("actions", chain(12, lambda number: action(number, "x"))[: first - 2]),
        )
        assert "another history" in problems(run(path, other, f"--proof={proof}")[1])


def test_a_range_without_its_proof_or_with_another_is_refused(tmp_path: Path) -> None:
    path = ranged(tmp_path, 5)
    proof = tmp_path / "proof-actions.json"
    for other in (inclusion("actions", ACTIONS, 6), inclusion("events", ACTIONS, 5)):
        proof.write_bytes(other)
        status, document, _ = run(path)
        assert (status, document["entry"]) == (1, 1)
        assert "beginning of the chain is missing" in document["reason"]
    ranged(tmp_path, 5, OURS.checkpoint("actions", rechained(ACTIONS, 2, host="x")))
    assert run(path)[0] == 1
    ranged(tmp_path, 5)
    Path(path).write_bytes(b"\n".join(ACTIONS[4:-1]))
    assert "the end is missing" in problems(run(path)[1])
    Path(path).write_bytes(b"\n".join([*ACTIONS[4:7], *ACTIONS[8:]]))
    status, document, _ = run(path)
    assert (status, document["entry"]) == (1, 8)  # numbers are those of the whole chain
    proof.unlink()
    assert run(path)[0] == 1


# Mathematics: against the service's own module, which shares no code with the verifier


@given(st.data())
def test_roots_and_proofs_are_those_of_rfc_9162_contract_96(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 300))
    leaves = [
        hashlib.sha256(bytes([number % 256, number // 256])).digest() for number in range(size)
    ]
    grown = verify.Tree()
    index = data.draw(st.integers(0, size - 1))
    for leaf in leaves[:index]:
        grown.add(leaf.hex())
    before = grown.subtrees()
    for leaf in leaves[index:]:
        grown.add(leaf.hex())
    root = tree.root_of(leaves)
    assert grown.root() == root
    path = [tree.root_of(leaves[slice(*each)]) for each in tree.inclusion_ranges(index, size)]
    proven = verify.leaf_hash(leaves[index].hex())
    assert verify.root_of_path(proven, index, size, path) == (root, before)
    old = data.draw(st.integers(1, size))
    older = old, tree.root_of(leaves[:old])
    extends = [tree.root_of(leaves[slice(*each)]) for each in tree.consistency_ranges(old, size)]
    verify.check_consistency(older, (size, root), extends)
    wrong = bytes(32)
    for bad in ([*extends, wrong], extends[1:], extends[:-1], [wrong, *extends[1:]]):
        if bad != extends and (extends or bad):
            with pytest.raises(RefusedProofError):
                verify.check_consistency(older, (size, root), bad)
    for bad in ([*path, wrong], path[1:], path[:-1]):
        if bad != path:
            with suppress(RefusedProofError):
                assert verify.root_of_path(proven, index, size, bad)[0] != root


def test_the_published_example_note_verifies_contract_96() -> None:
    """C2SP signed-note: the example, its key and its signature."""
    key = verify.read_note_key("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    note = verify.read_note(
        "If you think cryptography is the answer to your problem,\n"
        "then you don't know what your problem is.\n"
        "\n"
        "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKv"
        "qfqdngotpRZb6KE6RyyBwJnAM=\n".encode()
    )
    checkpoint = verify.Checkpoint("PeterNeumann", 0, b"", note)
    [signer] = verify.signers(checkpoint, [key])
    assert (signer.is_log, signer.time) == (True, None)
    changed = verify.Note(note.text.replace("answer", "reason"), note.signatures)
    with pytest.raises(RefusedProofError, match="is wrong"):
        verify.signers(verify.Checkpoint("PeterNeumann", 0, b"", changed), [key])
    assert key.text().startswith("PeterNeumann+c74f20a3+")


NOTE: Final = OURS.checkpoint("actions", ACTIONS)


@pytest.mark.parametrize(
    "note",
    [
        b"",
        NOTE[:-1],
        NOTE + b"x",
        NOTE + b"\n",
        NOTE.replace(b"\n12\n", b"\n012\n"),
        NOTE.replace(b"\n12\n", b"\n-12\n"),
        NOTE.replace(b"\n12\n", b"\n1\xd9\xa22\n"),
        NOTE.replace(b"\n12\n", b"\n12\r\n"),
        NOTE.replace(b"=\n\n", b"\n\n"),
        NOTE.replace(b"\n12\n", b"\n12\nAAAA\n"),
        NOTE.replace("\u2014".encode(), b"-"),
        NOTE.replace("\u2014 ".encode(), "\u2014  ".encode()),
        NOTE.split(b"\n\n")[0] + b"\n",
        b"\n\n" + NOTE,
        NOTE.replace(b"vyrox", b"vy\xffrox"),
        NOTE + NOTE.split(b"\n\n")[1] * 100,
        b"x" * 70_000 + NOTE,
    ],
)
def test_what_is_not_a_checkpoint_is_refused_contract_96(tmp_path: Path, note: bytes) -> None:
    with pytest.raises(RefusedProofError):
        verify.read_checkpoint(note)
    (tmp_path / "a.json").write_bytes(b"\n".join(ACTIONS))
    assert run(str(tmp_path / "a.json"), kept(tmp_path, note))[0] == 2
    (tmp_path / "checkpoint-actions.txt").write_bytes(note)
    assert run(str(tmp_path / "a.json"))[0] == 1


def test_a_checkpoint_may_have_further_lines() -> None:
    text = NOTE.split(b"\n\n")[0] + b"\nanything\n"
    assert verify.read_checkpoint(text + b"\n" + NOTE.split(b"\n\n")[1]).size == 12


@pytest.mark.parametrize(
    "key",
    [
        "",
        "a",
        OURS.key[:-4],
        OURS.key.replace("+", "-"),
        OURS.key.replace(LOG, f"{LOG}x"),
        f"{LOG}+00000000+{b64(bytes([1]) + bytes(32))}",
        f"{LOG}+00000000+{b64(bytes([2]) + OURS.public)}",
    ],
)
def test_what_is_not_a_verifier_key_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(RefusedProofError):
        verify.read_note_key(key)
    (tmp_path / "a.json").write_bytes(b"\n".join(ACTIONS))
    (tmp_path / "keys.txt").write_text(f"{key or '+'}\n")
    assert run(str(tmp_path / "a.json"), f"--keys={tmp_path / 'keys.txt'}")[0] == 2


@given(
    data=st.binary(max_size=400),
    name=st.sampled_from(["checkpoint-actions.txt", "keys.json", "proof-actions.json"]),
)
def test_any_bytes_beside_an_export_are_a_problem_and_no_traceback(data: bytes, name: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "a.json"
        path.write_bytes(b"\n".join(ACTIONS))
        (Path(directory) / name).write_bytes(data)
        assert run(str(path))[0] in (1, 3)


# The page


class _Page(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        self.text += data


def page(path: Path) -> _Page:
    parsed = _Page()
    parsed.feed(path.read_text("ascii"))
    return parsed


HOSTILE: Final = "<script>alert(1)</script>\u202e\x1b[31m&amp;\"'"


def test_the_page_says_the_same_and_holds_no_script_contract_96(tmp_path: Path) -> None:
    directory = OURS.write(tmp_path / "export", STORY.lines, [WITNESS])
    file = tmp_path / "report.html"
    assert run(directory, f"--html={file}")[0] == 0
    found = page(file)
    assert "Verified. Nothing that was checked is wrong." in found.text
    for words in ("jane (passkey) and omar (Discord)", "witness.example/w1", "Not proven"):
        assert words in found.text
    assert not {"script", "link", "img", "iframe", "form"} & set(found.tags)


def test_the_page_escapes_what_an_attacker_chose(tmp_path: Path) -> None:
    story = Story()
    story.lift(HOSTILE, HOSTILE)
    directory = Path(OURS.write(tmp_path / "export", story.lines))
    file = tmp_path / "report.html"
    for note in (None, OURS.checkpoint("actions", ACTIONS).replace(b"vyrox", b"<b>vyrox")):
        if note is not None:
            (directory / "checkpoint-actions.txt").write_bytes(note)
        assert run(str(directory), f"--html={file}")[0] == (0 if note is None else 1)
        found = page(file)
        assert "<script>alert(1)</script>" in found.text
        assert not {"script", "b"} & set(found.tags)
        assert "\\u202e" in found.text
        assert "\\x1b" in found.text
        assert ("Not verified." in found.text) == (note is not None)


def test_the_page_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\n".join(ACTIONS))
    status, _, text = run(str(tmp_path / "a.json"), f"--html={tmp_path}")
    assert status == 2
    assert "cannot write" in text
