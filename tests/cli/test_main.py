"""From the words of a command line to a command, and from what goes wrong to one line and a status."""

from __future__ import annotations

import os
import subprocess
import sys
from types import ModuleType

import pytest

from netplayground import __version__
from netplayground.cli.main import main, mode_first
from netplayground.errors import DamagedDumpError, SandboxError


def test_record_as_an_option_is_record_as_a_command() -> None:
    expected = ["record", "-f", "x", "true"]
    for words in (["--record", "-f", "x", "true"], ["-f", "x", "--record", "true"], expected):
        assert mode_first(words) == expected


def test_a_command_may_hold_the_word_of_a_mode() -> None:
    assert mode_first(["record", "-f", "x", "--", "--record"]) == ["record", "-f", "x", "--", "--record"]
    assert mode_first(["--record", "-f", "x", "--", "--replay"]) == ["record", "-f", "x", "--", "--replay"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "cannot tell what to do: give --record or --replay, or a command"),
        (["-f", "x", "true"], "cannot tell what to do: give --record or --replay, or a command"),
        (
            ["--record", "--replay", "-f", "x"],
            "cannot record and replay in one run: --record and --replay exclude each other",
        ),
        (["--replay", "true"], "missing option '-f' / '--file' (see plg replay --help)"),
        (
            ["replay", "-f", "x", "--flood", "--speed", "2", "true"],
            "cannot use --speed with --flood: a flood keeps neither time nor order",
        ),
        (
            ["--replay", "-f", "x", "--speed", "0", "true"],
            "cannot use --speed 0: not a number above 0, nor 'max'",
        ),
        (
            ["--replay", "-f", "x", "--stall", "nan", "true"],
            "cannot use --stall nan: not a number of seconds from 0 up",
        ),
        (["bogus"], "no such command 'bogus' (see plg --help)"),
        (["--record", "true"], "missing option '-f' / '--file' (see plg record --help)"),
        (["--record", "-f", "x"], "cannot start a run: no COMMAND is given"),
        (
            ["--record", "-f", "x", "--mtu", "y", "true"],
            "invalid value for '--mtu': 'y' is not a valid integer (see plg record --help)",
        ),
        (["--record", "-f", "x", "-s", "10.0.0.0/30", "a", "b", "c"], "3 processes, room for 2"),
        (["show"], "missing argument 'FILE' (see plg show --help)"),
    ],
)
def test_a_usage_error_is_one_line_and_status_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("plg: ")
    assert err.endswith(f"{message}\n")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "words", [["--help"], ["-h"], ["record", "--help"], ["--record", "--help"], ["show", "-h"]]
)
def test_help_is_on_stdout_and_no_error(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Usage: plg")
    assert err == ""


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("record", "show", "check", "doctor"):
        assert main([name, "--help"]) == 0
        assert f"Usage: plg {name}" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"plg {__version__}\n"


def fail_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `plg check` end with this error."""

    def check_dump(path: object, progress: object) -> None:
        raise error

    fake = ModuleType("netplayground.dump.check")
    fake.check_dump = check_dump  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "netplayground.dump.check", fake)


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (
            SandboxError("cannot open /dev/net/tun: Permission denied"),
            125,
            "cannot open /dev/net/tun: Permission denied",
        ),
        (DamagedDumpError("cannot read x: wrong CRC at 17", 17), 125, "cannot read x: wrong CRC at 17"),
        (SandboxError("cannot\nsay \x1b[31mthis"), 125, "cannot\\nsay \\x1b[31mthis"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (
            ZeroDivisionError("by zero"),
            125,
            "cannot go on: ZeroDivisionError: by zero (a bug of plg: --debug shows where)",
        ),
    ],
)
def test_every_error_is_one_line_and_its_status(
    error: BaseException,
    status: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fail_with(error, monkeypatch)
    assert main(["check", "x"]) == status
    assert capsys.readouterr().err == f"plg: {line}\n"


def test_a_traceback_only_with_debug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(SandboxError("cannot do it"), monkeypatch)
    assert main(["check", "x", "--debug"]) == 125
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert err.endswith("plg: cannot do it\n")


def test_python_m_netplayground_is_plg() -> None:
    command = [sys.executable, "-m", "netplayground", "--version"]
    assert (
        subprocess.run(command, check=True, capture_output=True, text=True).stdout == f"plg {__version__}\n"
    )


@pytest.mark.parametrize("words", [["--help"], ["record", "--help"]])
def test_a_reader_that_has_gone_is_no_noise(words: list[str]) -> None:
    readable, writable = os.pipe()
    os.close(readable)
    command = [sys.executable, "-m", "netplayground", *words]
    with open(writable, "wb") as nobody:
        done = subprocess.run(command, stdout=nobody, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (141, b"")


def test_errors_that_nobody_reads_keep_their_status() -> None:
    readable, writable = os.pipe()
    os.close(readable)
    command = [sys.executable, "-m", "netplayground", "bogus"]
    with open(writable, "wb") as nobody:
        assert subprocess.run(command, stderr=nobody, check=False).returncode == 2


@pytest.mark.parametrize("stream", ["1", "2"])
def test_a_closed_stream_is_no_crash(stream: str) -> None:
    command = f'exec "$0" -m netplayground record -f x {stream}>&-'
    done = subprocess.run(["sh", "-c", command, sys.executable], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_usage_error_imports_nothing_heavy() -> None:
    script = (
        "import sys; from netplayground.cli.main import main; status = main(['--record', '-f', 'x'])\n"
        "heavy = {'pyroute2', 'pytun', 'asyncio', 'netplayground.session.record',\n"
        "'netplayground.dump.reader'}\n"
        "print(status, sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "2 []\n"
