"""Files that appear whole or not at all, whatever ends the writer."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from netplayground.dump import appearing as module
from netplayground.dump.appearing import OPEN, appearing
from netplayground.errors import PlaygroundError

WAYS = ["without a name", "with a hidden name"]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """What the file system can do."""
    if request.param == WAYS[1]:
        real = os.open

        def refuse(path: str, flags: int, *rest: int, dir_fd: int | None = None) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, "not here")
            return real(path, flags, *rest, dir_fd=dir_fd)

        monkeypatch.setattr(os, "open", refuse)
    yield request.param


@pytest.mark.usefixtures("way")
def test_it_is_there_when_all_of_it_is(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with appearing(path) as file:
        file.write(b"whole")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == b"whole" and os.listdir(tmp_path) == ["out"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("was_there", [False, True])
def test_what_fails_leaves_what_was_there(tmp_path: Path, was_there: bool) -> None:
    path = tmp_path / "out"
    if was_there:
        path.write_bytes(b"before")
    with pytest.raises(KeyError), appearing(path) as file:
        file.write(b"half")
        raise KeyError
    assert os.listdir(tmp_path) == (["out"] if was_there else [])
    assert not was_there or path.read_bytes() == b"before"


@pytest.mark.usefixtures("way")
def test_a_file_is_replaced_and_one_that_is_linked_to_as_well(tmp_path: Path) -> None:
    path, link = tmp_path / "out", tmp_path / "link"
    path.write_bytes(b"before")
    path.chmod(0o644)
    link.symlink_to("out")
    with path.open("rb") as reader, appearing(link) as file:
        file.write(b"after")
        assert path.read_bytes() == reader.read() == b"before"
    assert link.is_symlink() and path.read_bytes() == b"after"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and sorted(os.listdir(tmp_path)) == ["link", "out"]


def test_what_holds_no_secret_is_as_open_as_the_umask_says(tmp_path: Path) -> None:
    former = os.umask(0o027)
    try:
        with appearing(tmp_path / "out", OPEN):
            pass
    finally:
        os.umask(former)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("nowhere/out", "No such file or directory"),
        ("file/out", "Not a directory"),
        ("folder", "Is a directory"),
        ("x" * 300, "File name too long"),
    ],
)
def test_what_cannot_be_written_is_one_sentence(tmp_path: Path, name: str, cause: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(PlaygroundError) as raised, appearing(tmp_path / name):
        raise AssertionError("there is nothing to write to")
    assert str(raised.value) == f"cannot write {tmp_path / name}: {cause}"
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    said = r"cannot write .*out: No space left on device"
    with pytest.raises(PlaygroundError, match=said), appearing(tmp_path / "out"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert os.listdir(tmp_path) == []


def test_a_fifo_is_written_to_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with appearing(path) as file:
        file.write(b"said")
    assert os.read(reader, 100) == b"said"
    os.close(reader)
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_a_descriptor_is_written_to(tmp_path: Path) -> None:
    memory = os.memfd_create("out")
    with appearing(Path(f"/proc/self/fd/{memory}")) as file:
        file.write(b"said")
    assert os.pread(memory, 100, 0) == b"said"
    os.close(memory)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_of_a_writer_that_was_killed(tmp_path: Path, number: signal.Signals) -> None:
    script = (
        "import sys, time; from pathlib import Path; from netplayground.dump.appearing import appearing\n"
        "with appearing(Path(sys.argv[1])) as file:\n"
        "    file.write(b'half'); file.flush(); print('now', flush=True); time.sleep(60)\n"
    )
    words = [sys.executable, "-c", script, str(tmp_path / "out")]
    root = Path(module.__file__).parents[2]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=root) as child:
        assert child.stdout is not None and child.stdout.readline() == b"now\n"
        child.send_signal(number)
    assert os.listdir(tmp_path) == []
