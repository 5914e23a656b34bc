"""What the tests with real namespaces share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In place of pytest's own, whose parents are closed to the ordinary user of half of these tests."""
    with tempfile.TemporaryDirectory(prefix="plg-kernel-") as name:
        path = Path(name)
        path.chmod(0o777)
        yield path
