"""What every journey needs: a TUN device and a folder that all users may enter."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from journey import leftovers
from journey.runs import Place


@pytest.fixture(scope="session", autouse=True)
def _own_mounts() -> None:
    leftovers.keep_to_ourselves()


@pytest.fixture
def place() -> Iterator[Place]:
    """Not pytest's own: its parents are closed to the users that servers drop to, and it keeps the dumps."""
    with tempfile.TemporaryDirectory(prefix="plg-journey-") as name:
        yield Place(Path(name))
