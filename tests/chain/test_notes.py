"""Signed notes, checkpoints and co-signatures (contract 93 and 95)."""

import base64
import re
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vyrox.chain.notes import (
    TIMED,
    Checkpoint,
    Key,
    Note,
    NoteError,
    check,
    public_bytes,
    read_checkpoint,
    read_key,
    read_note,
    read_signatures,
    sign_note,
    sign_time,
)
from vyrox.chain.tree import root_of

EXAMPLE_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
EXAMPLE_SEED = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
EXAMPLE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdn"
    "gotpRZb6KE6RyyBwJnAM=\n"
).encode()

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = public_bytes(PRIVATE)
ORIGIN = "vyrox/0123456789abcdef/acme-corp/actions"
CHECKPOINT = Checkpoint(ORIGIN, 42, bytes(32))


def signed(*, at: int | None = None) -> Note:
    """Return a checkpoint with a signature over its text or, with `at`, over a time too."""
    text = CHECKPOINT.text()
    if at is None:
        return Note(text, (sign_note(text, ORIGIN, PRIVATE, PUBLIC),))
    return Note(text, (sign_time(text, ORIGIN, PRIVATE, PUBLIC, at),))


def test_the_published_example_verifies_and_is_signed_the_same() -> None:
    """The example note and key of C2SP signed-note."""
    key, note = read_key(EXAMPLE_KEY), read_note(EXAMPLE)
    assert str(key) == EXAMPLE_KEY
    assert note.encode() == EXAMPLE
    assert check(note, key) is None
    private = Ed25519PrivateKey.from_private_bytes(base64.b64decode(EXAMPLE_SEED)[1:])
    assert note.signatures == (sign_note(note.text, "PeterNeumann", private, key.public),)
    with pytest.raises(NoteError, match="wrong"):
        check(read_note(EXAMPLE.replace(b"answer", b"reason")), key)


def test_a_checkpoint_is_short_and_reads_back() -> None:
    """Contract 93: at most 512 bytes, whatever the size of the log."""
    note = read_note(signed().encode())
    assert read_checkpoint(note) == CHECKPOINT
    assert check(note, Key(ORIGIN, PUBLIC)) is None
    long = "v" * 60 + "/0123456789abcdef/" + "t" * 64 + "/actions"
    text = Checkpoint(long, 2**63 - 1, bytes(32)).text()
    assert len(Note(text, (sign_note(text, long, PRIVATE, PUBLIC),)).encode()) <= 512


def test_the_example_of_the_page_is_what_the_code_signs_contract_93() -> None:
    """docs/AUDIT_CHAIN.md: a checkpoint of its two worked examples."""
    page = (Path(__file__).parent.parent.parent / "docs" / "AUDIT_CHAIN.md").read_text()
    section = page.partition("\n## Checkpoints\n")[2]
    note = read_note(section.split("```\n")[1].encode())
    found = read_checkpoint(note)
    hashes = re.findall(r'"hash": "([0-9a-f]{64})"', page)
    assert found.size == len(hashes) == 2
    assert found.root == root_of(map(bytes.fromhex, hashes))
    key = read_key(section.split("`")[7].strip())
    assert key.public == PUBLIC
    assert check(note, key) is None
    assert check(note, msgspec.structs.replace(key, kind=TIMED)) == 1_704_067_260


def test_a_timed_signature_says_when() -> None:
    """C2SP tlog-cosignature: the time is signed, and is no signature over the text alone."""
    note = read_note(signed(at=1_700_000_000).encode())
    assert check(note, Key(ORIGIN, PUBLIC, TIMED)) == 1_700_000_000
    with pytest.raises(NoteError, match="no signature"):
        check(note, Key(ORIGIN, PUBLIC))
    line = base64.b64decode(note.encode().split(b" ")[-1])
    later = base64.b64encode(line[:11] + bytes([line[11] ^ 1]) + line[12:])
    changed = note.encode().replace(base64.b64encode(line), later)
    with pytest.raises(NoteError, match="wrong"):
        check(read_note(changed), Key(ORIGIN, PUBLIC, TIMED))


@pytest.mark.parametrize(
    "text",
    [
        "name",
        "name+00000000+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        EXAMPLE_KEY + "=",
        EXAMPLE_KEY.replace("PeterNeumann", "Peter Neumann"),
        EXAMPLE_KEY[:-4],
    ],
)
def test_what_is_not_a_key_is_refused(text: str) -> None:
    """No other form of a key, and none whose hash is of another name, is read."""
    with pytest.raises(NoteError):
        read_key(text)


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"text\n",
        EXAMPLE[:-1],
        EXAMPLE.replace(b"\n\n", b"\n"),
        EXAMPLE.replace(b"then", b"the\r"),
        EXAMPLE.replace(b"then", b"\xff"),
        EXAMPLE.replace(b"wJnAM=", b"wJnAN="),
        EXAMPLE.replace("\u2014".encode(), b"-"),
        EXAMPLE + b"x\n",
        EXAMPLE + EXAMPLE.splitlines(keepends=True)[-1] * 100,
        b"x" * 70_000 + EXAMPLE,
    ],
)
def test_what_is_not_a_note_is_refused(encoded: bytes) -> None:
    """Never a traceback, whatever the bytes."""
    with pytest.raises(NoteError):
        read_note(encoded)


@pytest.mark.parametrize(
    "text",
    [
        "origin\n1\n",
        "origin\n01\n" + "A" * 43 + "=\n",
        "origin\n-1\n" + "A" * 43 + "=\n",
        "origin\n\u0661\n" + "A" * 43 + "=\n",
        "origin\n9223372036854775808\n" + "A" * 43 + "=\n",
        "origin\n1\nAAAA\n",
        "\n1\n" + "A" * 43 + "=\n",
    ],
)
def test_what_is_not_a_checkpoint_is_refused(text: str) -> None:
    """A note whose text is not an origin, a size and a hash."""
    with pytest.raises(NoteError):
        read_checkpoint(Note(text, ()))


def test_signatures_alone_are_read_as_a_witness_sends_them() -> None:
    """C2SP tlog-witness answers with the lines only."""
    line = signed(at=5).signatures[0]
    assert read_signatures(line.line() * 2) == (line, line)
    with pytest.raises(NoteError):
        read_signatures(line.line()[:-1])
