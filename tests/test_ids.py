"""Random identifiers."""

import uuid
from collections import Counter

from vyrox.ids import new_id


def test_an_id_is_a_random_uuid_in_its_usual_form() -> None:
    for _ in range(1000):
        parsed = uuid.UUID(text := new_id())
        assert str(parsed) == text
        assert (parsed.version, parsed.variant) == (4, uuid.RFC_4122)


def test_all_but_the_fixed_bits_vary() -> None:
    ids = [uuid.UUID(new_id()).int for _ in range(2000)]
    ones = Counter(bit for number in ids for bit in range(128) if number >> bit & 1)
    fixed = {62, 63, *range(76, 80)}
    assert all(800 < ones[bit] < 1200 for bit in range(128) if bit not in fixed)
    assert len(set(ids)) == len(ids)
