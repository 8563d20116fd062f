"""The bugs that `make chaos PARTS=mutants` plants can be planted in the code as it is."""

import pytest

from chaos.mutants import MUTANTS, Mutant
from tests.service import ROOT


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_can_be_planted(mutant: Mutant) -> None:
    assert (ROOT / mutant.file).read_text().count(mutant.old) == 1
