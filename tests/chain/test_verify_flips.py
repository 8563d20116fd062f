"""One bit of an export or of a proof is changed, and the verifier notices (contract 64, A36)."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from hypothesis import given
from hypothesis import strategies as st
from webauthn.helpers import base64url_to_bytes

from tests.approvals.authenticator import b64
from tests.approvals.story import Members, Story, begun, proposal
from tests.chain.test_verify_approvals import (
    DISCORD,
    KEY,
    OMARS,
    by_discord,
    by_passkey,
    whole_story,
)
from vyrox.chain import verify

WHOLE: Final = whole_story()
BINARY: Final = ("client_data", "authenticator_data", "signature", "body")
"""Members of a proof in base64url."""


@contextmanager
def written(story: Story) -> Iterator[list[str]]:
    with tempfile.TemporaryDirectory() as directory:
        yield story.write(Path(directory))


@given(data=st.data(), stream=st.sampled_from([0, 1]))
def test_a_flipped_bit_of_an_export_is_found_or_changes_nothing(
    data: st.DataObject, stream: int
) -> None:
    """It changes nothing if it is in the line's layout, or makes another form of the same text."""
    with written(WHOLE) as paths:
        whole = verify.verify_approvals(paths[0], paths[1])
        path = Path(paths[stream])
        content = bytearray(path.read_bytes())
        bit = data.draw(st.integers(0, len(content) * 8 - 1))
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        try:
            found = verify.verify_approvals(paths[0], paths[1])
        except (verify.TamperedError, verify.NothingToCheckError):
            return
        assert found == whole


def flipped(text: str, bit: int, *, is_binary: bool) -> str:
    raw = bytearray(base64url_to_bytes(text) if is_binary else text.encode())
    raw[bit // 8 % len(raw)] ^= 1 << bit % 8
    return b64(bytes(raw)) if is_binary else raw.decode("latin-1")


@given(
    by=st.sampled_from(["jane", "omar", "Discord"]),
    name=st.integers(0, 20),
    bit=st.integers(0, 2**40),
    as_text=st.booleans(),
)
def test_a_flipped_bit_of_a_proof_is_refused_though_the_chain_holds(
    by: str, name: int, bit: int, *, as_text: bool
) -> None:
    """The attacker has computed all hashes of the log again, and so chooses what is in it."""
    on = proposal()
    story = begun(on, KEY, discord=DISCORD)
    story.enrol("omar", OMARS)
    decision: Members = by_discord(on) if by == "Discord" else by_passkey(on, by)
    members = sorted(decision.keys() - {"proposal_id"})
    changed = members[name % len(members)]
    is_binary = not as_text and changed in BINARY and (by, changed) != ("Discord", "signature")
    decision[changed] = flipped(decision[changed], bit, is_binary=is_binary)
    decided = story.event("approval.decided", **decision)
    story.dispatch(on, story.act(on, "jane"), decided)
    found = story.verify()
    assert [each.event for each in found.failures] == [
        len(story.lines["events"]) - 1 + each for each in (0, 1)
    ]
    assert found.proven == {}
