"""The scripts of the checkout: they parse, CI's exit status is right, and what is missing is named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHELL_SCRIPTS = [
    path
    for path in [*(ROOT / "scripts").iterdir(), ROOT / ".ci" / "run"]
    if path.is_file() and path.read_text().startswith(("#!/bin/sh", "# Sourced"))
]


@pytest.mark.parametrize("path", SHELL_SCRIPTS, ids=lambda path: path.name)
def test_a_shell_script_parses(path: Path) -> None:
    subprocess.run(["sh", "-n", path], check=True)


def write_script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(("check", "test", "status"), [(0, 0, 0), (1, 0, 1), (0, 5, 1), (2, 5, 1)])
def test_ci_runs_both_and_fails_with_either(tmp_path: Path, check: int, test: int, status: int) -> None:
    write_script(tmp_path / "scripts" / "check", f"echo checked $PLG_MUST_WORK; exit {check}")
    write_script(tmp_path / "scripts" / "test", f"echo tested $PLG_MUST_WORK; exit {test}")
    write_script(tmp_path / ".ci" / "run", (ROOT / ".ci" / "run").read_text())
    done = subprocess.run([tmp_path / ".ci" / "run"], capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == status
    assert done.stdout.splitlines()[:2] == ["checked 1", "tested 1"]


def environment(words: str, tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run words of shell in a script of a checkout that has the real scripts/environment."""
    write_script(tmp_path / "scripts" / "probe", f". {ROOT}/scripts/environment\n{words}")
    script = tmp_path / "scripts" / "probe"
    return subprocess.run(
        [script],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHON": sys.executable, **variables},
    )


def test_a_missing_compiler_is_named(tmp_path: Path) -> None:
    done = environment("find_python; missing_for_python", tmp_path, CC="no-such-compiler")
    assert "gcc " in done.stdout


def test_where_nothing_may_be_installed_one_sentence_says_what_is_missing(tmp_path: Path) -> None:
    write_script(tmp_path / "pyproject.toml", "")
    words = "may_install() { false; }\nmissing_for_python() { printf 'gcc '; }\nmake_environment"
    done = environment(words, tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "probe: missing on this machine: gcc (python-pytun is compiled here); install them first\n"
    )


def test_an_environment_that_fits_is_not_made_again(tmp_path: Path) -> None:
    write_script(tmp_path / "pyproject.toml", "")
    fits = 'find_python; mkdir -p "$venv"; state=$(environment_state); echo "$state" >"$venv/made-for-dev"'
    words = f'{fits}\nmissing_for_python() {{ echo made again >&2; }}\nmake_environment "$1"; echo "$PATH"'
    done = environment(words, tmp_path)
    assert done.stderr == ""
    assert done.stdout.startswith(f"{tmp_path}/.venv/bin:")


def test_a_command_is_heard_only_where_it_fails(tmp_path: Path) -> None:
    assert environment("quietly echo loud", tmp_path).stderr == ""
    done = environment("quietly sh -c 'echo why; exit 7'", tmp_path)
    assert (done.returncode, done.stderr) == (7, "why\n")
