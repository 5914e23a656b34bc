"""The package's public names: there, typed, and not imported before they are asked for."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import netplayground


def test_all_names_are_there() -> None:
    for name in netplayground.__all__:
        assert getattr(netplayground, name) is not None
    assert set(netplayground.__all__) <= set(dir(netplayground))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = netplayground.nonsense  # type: ignore[attr-defined]


def test_every_public_name_says_what_it_is() -> None:
    for name in netplayground.__all__:
        assert inspect.getdoc(getattr(netplayground, name)), name


@pytest.mark.parametrize(
    "first", ["", "import netplayground.replay.verdict;", "import netplayground.session.replay;"]
)
def test_replay_can_be_called_whatever_was_imported_before(first: str) -> None:
    script = (
        f"{first or 'import sys;'} import netplayground, inspect\n"
        "assert callable(netplayground.replay)\n"
        "assert 'speed' in inspect.signature(netplayground.replay).parameters\n"
        "from netplayground.replay.verdict import Verdict\n"
        "try: netplayground.replay('no such file', ['true'])\n"
        "except netplayground.errors.DumpError: print('refused')\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (ended.stdout, ended.stderr) == ("refused\n", "")


def test_importing_the_package_imports_nothing_else() -> None:
    script = "import sys, netplayground; print([each for each in sys.modules if 'netplayground.' in each])"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert ended.stdout == "[]\n"
