"""Random changes of an export are noticed (contract 96). `benchmarks.mutations` counts more."""

import random
from pathlib import Path

import pytest

from tests.chain.mutations import (
    MUTATIONS,
    RANGE,
    STREAMS,
    WHOLE,
    Mutated,
    draw,
    meaning,
    status,
    with_kept,
)

LAST = {stream: len(WHOLE.lines[stream]) for stream in STREAMS}
MISSED = (0, 3)


def check(rng: random.Random, mutated: Mutated, directory: Path) -> None:
    assert with_kept(mutated, directory, LAST) not in MISSED, mutated
    sizes = {stream: rng.randint(1, LAST[stream]) for stream in STREAMS}
    touched = {stream: mutated.touched(stream) for stream in STREAMS}
    if any(at is not None and at <= sizes[stream] for stream, at in touched.items()):
        assert with_kept(mutated, directory, sizes) not in MISSED, mutated


@pytest.mark.parametrize("kind", MUTATIONS, ids=lambda kind: kind.__name__)
def test_a_change_of_each_kind_is_noticed_contract_96(tmp_path: Path, kind: object) -> None:
    rng = random.Random(str(kind.__name__))  # type: ignore[attr-defined]  # noqa: S311
    mutated = draw(rng)
    while mutated.kind != kind.__name__:  # type: ignore[attr-defined]
        mutated = draw(rng)
    check(rng, mutated, tmp_path)


def test_what_was_not_changed_is_verified_contract_96(tmp_path: Path) -> None:
    for export in (WHOLE, RANGE):
        assert with_kept(Mutated("", export, export), tmp_path, LAST) == 0
        export.write(tmp_path)
        assert status(tmp_path) == 0
        assert meaning(export) == meaning(export)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_many_changes_are_noticed_contract_96(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311  (the changes must be the same again)
    for _ in range(25):
        check(rng, draw(rng), tmp_path)
