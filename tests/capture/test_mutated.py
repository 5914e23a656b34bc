"""A short seed of the fuzz run: mutated captures are dumps that are whole, or one clear error each."""

from __future__ import annotations

import pytest
from capture.mutated import attempts


@pytest.mark.parametrize("seed", range(0, 180, 60))
def test_mutated_captures_are_dumps_or_one_clear_error(seed: int) -> None:
    outcomes = attempts(60, seed)
    assert outcomes["a dump"] > 30
    assert outcomes["an error"] > 0
    assert outcomes.total() == 60
