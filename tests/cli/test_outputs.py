"""Relays between real pipes: what plg's stdout and stderr get of what programs say; files of --output."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from netplayground.cli.outputs import Outputs
from netplayground.errors import PlaygroundError, UsageError

ROOT = Path(__file__).resolve().parents[2]
_SPEAK = """
import os, signal, sys, time
from netplayground.cli.outputs import Outputs
def child(body):
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        body()
        os._exit(0)
    return pid
with Outputs({names!r}) as outputs:
    streams = outputs.streams
    {body}
print("trouble:", outputs.trouble, file=sys.stderr)
"""


def plg(body: str, names: tuple[str, ...] = ("a", "bb")) -> list[str]:
    return [sys.executable, "-c", _SPEAK.format(names=names, body="\n    ".join(body.splitlines()))]


def run(body: str, **streams: int) -> tuple[bytes, bytes]:
    where = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    done = subprocess.run(plg(body), **where, cwd=ROOT, timeout=20, check=True)  # type: ignore[call-overload]
    return done.stdout, done.stderr


def test_stdout_and_stderr_stay_apart() -> None:
    out, err = run("os.write(streams['a'].stdout, b'out')\nos.write(streams['bb'].stderr, b'err\\n')")
    assert out == b"a  | out\n"
    assert err == b"bb | err\ntrouble: None\n"


def test_one_file_for_both_keeps_the_order() -> None:
    body = "for n in range(50):\n  os.write(streams['a'][n % 2], b'%d\\n' % n)".replace(
        "streams['a'][n % 2]", "(streams['a'].stdout, streams['a'].stderr)[n % 2]"
    )
    out, _ = run(body, stderr=subprocess.STDOUT)
    assert out.splitlines()[:50] == [b"a  | %d" % n for n in range(50)]


def test_what_plg_says_stands_on_lines_of_its_own() -> None:
    body = (
        "os.write(streams['a'].stderr, b'prompt? ')\ntime.sleep(0.3)\n"
        "outputs.say('words')\ntime.sleep(0.3)\nos.write(streams['a'].stderr, b'more\\n')"
    )
    assert run(body)[1].splitlines()[:3] == [b"a  | prompt? ", b"plg: words", b"a  | more"]


def test_bytes_are_passed_on_as_they_are() -> None:
    every = bytes(range(256))
    out, _ = run("os.write(streams['a'].stdout, bytes(range(256)))")
    assert out == b"a  | " + every.replace(b"\n", b"\na  | ") + b"\n"


def test_a_reader_that_leaves_gives_the_writer_sigpipe() -> None:
    body = (
        "def endless():\n  while True: os.write(streams['a'].stdout, b'y\\n' * 1000)\n"
        "pid = child(endless)\n"
        "print('ended by', os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), file=sys.stderr)"
    )
    with subprocess.Popen(plg(body), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout and process.stderr
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read().decode()
        assert process.wait(20) == 0
    assert f"ended by {-signal.SIGPIPE}" in said and "trouble: None" in said


def test_a_full_disk_is_trouble_and_the_programs_go_on() -> None:
    body = "for _ in range(9): os.write(streams['a'].stdout, b'x' * 65536)\nprint('all', file=sys.stderr)"
    with open("/dev/full", "wb") as full:
        _, err = run(body, stdout=full.fileno())
    assert err.splitlines() == [
        b"all",
        b"trouble: cannot write what the processes say to stdout: No space left on device",
    ]


def test_stderr_goes_on_while_nobody_reads_stdout() -> None:
    body = (
        "pid = child(lambda: [os.write(streams['a'].stdout, b'x' * 65536) for _ in range(9)])\n"
        "os.write(streams['bb'].stderr, b'here\\n')\nos.waitpid(pid, 0)"
    )
    with subprocess.Popen(plg(body), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout and process.stderr
        assert process.stderr.readline() == b"bb | here\n"
        assert len(process.stdout.read()) == 9 * 65536 + len(b"a  | \n")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_no_relay_is_left_when_plg_is_killed_before_a_stopped_reader(how: signal.Signals) -> None:
    body = "print(*[relay.pid for relay in outputs._relays], file=sys.stderr, flush=True)\n"
    body += "while True: os.write(streams['a'].stdout, b'x' * 65536)"
    with subprocess.Popen(plg(body), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stderr and process.stdout
        relays = [os.pidfd_open(int(pid)) for pid in process.stderr.readline().split()]
        assert select.select([process.stdout], [], [], 10)[0]
        process.send_signal(how)
        process.wait(10)
        poll = select.poll()
        for relay in relays:
            poll.register(relay, select.POLLIN)
        deadline = time.monotonic() + 10
        while relays and time.monotonic() < deadline:
            for relay, _ in poll.poll(1000):
                poll.unregister(relay)
                relays.remove(relay)
                os.close(relay)
        assert not relays


def test_who_interrupts_does_not_wait_for_a_stopped_reader() -> None:
    body = "for _ in range(2): os.write(streams['a'].stdout, b'x' * 65536)\nprint('done', file=sys.stderr)"
    with subprocess.Popen(plg(body), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stderr and process.stdout
        assert process.stderr.readline() == b"done\n"
        deadline = time.monotonic() + 10
        while process.poll() is None:  # the first may come before it waits
            assert time.monotonic() < deadline
            process.send_signal(signal.SIGINT)
            time.sleep(0.1)
        assert process.returncode == -signal.SIGINT
        # It comes to its end: no relay is left, at the latest a second after plg.
        process.stdout.read()


def test_a_relay_that_is_ended_from_outside_is_trouble() -> None:
    _, err = run("os.kill(outputs._relays[0].pid, 9)\noutputs.say('goes on')")
    assert b"plg: goes on" in err
    assert b"trouble: cannot write what the processes say to stdout: its relay was ended from outside" in err


def test_one_process_has_the_streams_of_plg() -> None:
    with Outputs(["a"]) as outputs:
        assert outputs.streams == {}


def speak_to(directory: Path, names: list[str], kept: list[Path] | None = None) -> None:
    with Outputs(names, directory, kept or []) as outputs:
        for number, name in enumerate(names):
            os.write(outputs.streams[name].stdout, b"out %d" % number)
            os.write(outputs.streams[name].stderr, b"\r\xff\n")
    assert outputs.trouble is None


def test_each_process_has_a_file_for_both(tmp_path: Path) -> None:
    speak_to(tmp_path / "logs", ["a", "b"])
    assert (tmp_path / "logs" / "a.log").read_bytes() == b"out 0\r\xff\n"
    assert (tmp_path / "logs" / "b.log").read_bytes() == b"out 1\r\xff\n"


def test_one_process_has_a_file_too_and_a_former_one_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("long ago, and longer than now")
    speak_to(tmp_path, ["a"])
    assert (tmp_path / "a.log").read_bytes() == b"out 0\r\xff\n"


def test_all_files_or_none(tmp_path: Path) -> None:
    (tmp_path / "b.log").mkdir()
    (tmp_path / "z.log").write_text("kept")
    with pytest.raises(PlaygroundError, match=r"cannot write .*/b\.log: Is a directory"):
        Outputs(["z", "a", "b"], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.log", "z.log"]
    assert (tmp_path / "z.log").read_text() == "kept"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    with pytest.raises(PlaygroundError, match=r"cannot write .*/no/logs: No such file or directory"):
        Outputs(["a"], tmp_path / "no" / "logs")
    (tmp_path / "file").touch()
    with pytest.raises(PlaygroundError, match=r"cannot write .*/file/a\.log: Not a directory"):
        Outputs(["a"], tmp_path / "file")


def test_only_a_regular_file_is_written(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.log")
    with pytest.raises(PlaygroundError, match=r"cannot write .*/a\.log: No such device"):
        Outputs(["a"], tmp_path)
    os.symlink("/dev/null", tmp_path / "b.log")
    with pytest.raises(PlaygroundError, match=r"cannot write .*/b\.log: not a regular file"):
        Outputs(["b"], tmp_path)


@pytest.mark.parametrize("link", [False, True])
def test_the_dump_is_not_written_over(tmp_path: Path, link: bool) -> None:
    dump = tmp_path / "a.log"
    dump.write_text("precious")
    if link:
        os.link(dump, tmp_path / "dump")
    with pytest.raises(UsageError, match="it is a file of this run already"):
        Outputs(["a"], tmp_path, [tmp_path / "dump" if link else dump])
    assert dump.read_text() == "precious"
