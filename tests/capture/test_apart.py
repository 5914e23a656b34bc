"""Work that a fork does ahead: what it makes arrives, whatever its size; no fork is left, whoever ends."""

from __future__ import annotations

import gc
import os
import re
import signal
import subprocess
import sys
import time
import weakref
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

np = pytest.importorskip("numpy")

from capture.frames import block, enhanced, interface, pcap, section, write  # noqa: E402
from capture.test_fast import crowd, perturbed  # noqa: E402

from netplayground.capture import apart, reading, records  # noqa: E402
from netplayground.capture.apart import SLOTS, Apart, Shared  # noqa: E402
from netplayground.capture.importing import ImportOptions, import_captures  # noqa: E402
from netplayground.errors import CaptureError, PlaygroundError  # noqa: E402


@dataclass
class Made:
    """What tests let a fork make."""

    number: int
    where: str
    buffer: Any
    array: Any


def test_items_arrive_as_they_were_made() -> None:
    shared = Shared(1000, 2000)

    def items() -> Iterator[Made]:
        buffers = [shared.allocate(200) for _ in range(SLOTS)]
        for number in range(20):
            buffer = buffers[number % SLOTS]
            buffer[:] = bytes([number]) * 200
            large = np.full(30 * number**2, number)  # soon no slot has room for it
            yield Made(number, "allocated", buffer, (np.frombuffer(buffer, np.uint8), large, large[::2]))
        yield Made(20, "empty", shared.allocate(5000), (np.zeros(0), np.arange(0)))
        yield Made(21, "places", memoryview(b""), array("q", range(-1, 50_000)))

    maker: Apart[Made] = Apart(items(), shared)
    for number, made in zip(range(20), maker, strict=False):
        assert (made.number, bytes(made.buffer)) == (number, bytes([number]) * 200)
        same, large, half = made.array
        assert same.tolist() == [number] * 200
        assert large.tolist() == [number] * (30 * number**2) and half.tolist() == large[::2].tolist()
    last = next(maker)
    assert len(last.buffer) == 5000 and [len(each) for each in last.array] == [0, 0]
    places = next(maker).array
    assert type(places) is array and places == array("q", range(-1, 50_000))
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(maker)
    maker.close()


def test_memory_is_used_again_only_when_its_item_was_given_back() -> None:
    shared = Shared(SLOTS, 100)

    def items() -> Iterator[Made]:
        buffers = [shared.allocate(1) for _ in range(SLOTS)]
        for number in range(100):
            buffers[number % SLOTS][0] = number
            yield Made(number, "", buffers[number % SLOTS], np.array([number], np.uint8))

    maker: Apart[Made] = Apart(items(), shared)
    for number in range(100):
        made = next(maker)
        if number % 10 == 0:
            time.sleep(0.01)  # the fork goes as far as it can
        assert (made.buffer[0], made.array.tolist()) == (number, [number])
    maker.close()


def test_what_fails_there_fails_here() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise CaptureError("cannot read x: it is gone")

    maker = Apart(items(), Shared(1, 1))
    assert next(maker) == 1
    for _ in range(2):
        with pytest.raises(CaptureError, match="cannot read x: it is gone") as caught:
            next(maker)
    assert "in items" in str(caught.value.__cause__)  # where it was raised
    maker.close()


def test_a_fork_that_is_killed_is_told() -> None:
    def items() -> Iterator[int]:
        yield 1
        os.kill(os.getpid(), signal.SIGKILL)

    maker = Apart(items(), Shared(1, 1))
    assert next(maker) == 1
    for _ in range(2):
        with pytest.raises(ChildProcessError, match="has ended"):
            next(maker)
    maker.close()
    maker.close()


def test_closing_ends_a_fork_that_waits_for_something_else() -> None:
    reading, writing = os.pipe()

    def items() -> Iterator[int]:
        yield os.getpid()
        os.read(reading, 1)

    maker = Apart(items(), Shared(1, 1))
    pid = next(maker)
    maker.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    os.close(reading)
    os.close(writing)


def test_a_fork_may_be_reaped_by_somebody_else() -> None:
    for number in range(2):
        maker = Apart(iter([os.getpid(), number]), Shared(1, 1))
        assert next(maker) == os.getpid()
        if number:
            list(maker)
        before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        try:
            maker.close()
        finally:
            signal.signal(signal.SIGCHLD, before)


@pytest.mark.parametrize("name", ["pipe", "fork", "pidfd_open"])
def test_nothing_stays_of_one_that_could_not_be_started(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    real, calls = getattr(os, name), [0]

    def refused(*arguments: int) -> int:
        calls[0] += 1
        if name == "pipe" and calls[0] == 1:
            return real(*arguments)  # type: ignore[no-any-return]
        raise OSError(24, "Too many open files")

    before = set(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, name, refused)
    with pytest.raises(OSError, match="Too many open files"):
        Apart(iter([1]), Shared(1, 1))
    monkeypatch.undo()
    assert set(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_its_memory_goes_with_it_also_where_something_failed() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise CaptureError("cannot read x")

    gc.disable()
    try:
        maker = Apart(items(), Shared(1, 1))
        memory = weakref.ref(maker._shared)
        with pytest.raises(CaptureError):
            list(maker)
        maker.close()
        del maker
        assert memory() is None
    finally:
        gc.enable()


PARENT = """
import os, sys
from netplayground.capture.apart import Apart, Shared
def items():
    yield os.getpid()
    os.read(0, 1)
apart = Apart(items(), Shared(1, 1))
print(next(apart), flush=True)
next(apart)
"""


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_a_fork_ends_with_its_parent(signum: int) -> None:
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.send_signal(signum)
        parent.wait(10)
        assert parent.stdout.read() == ""
    while runs(pid):
        time.sleep(0.01)


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("room", [1 << 10, 1 << 16, 1 << 23])
def test_an_import_comes_to_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, room: int
) -> None:
    capture = write(tmp_path / "capture.pcap", pcap(perturbed(crowd(seed, 60), seed)))
    forks: list[Apart[Any]] = []

    class Noted(Apart[Any]):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            forks.append(self)

    monkeypatch.setattr(records.Records.__init__, "__defaults__", (1 << 15,))
    by_thread, by_fork = (ImportOptions((capture,), tmp_path / name) for name in ("thread", "fork"))
    one = import_captures(by_thread)
    monkeypatch.setattr(apart, "Apart", Noted)
    monkeypatch.setattr(apart, "is_possible", lambda: True)
    monkeypatch.setattr(reading, "BATCH", 1 << 10)
    monkeypatch.setattr(reading, "_COLUMNS_ROOM", room)
    other = import_captures(by_fork)
    assert len(forks) == 1 and one == other
    assert by_thread.dump.read_bytes() == by_fork.dump.read_bytes() and one.written.connections == 60


def test_captures_that_cannot_be_read_are_told_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "is_possible", lambda: True)
    monkeypatch.setattr(reading, "BATCH", 0)
    for name, data, said in (("none", None, "No such file"), ("bad", b"no capture" * 10, "neither a pcap")):
        path = tmp_path / name
        if data is not None:
            path.write_bytes(data)
        with pytest.raises(CaptureError, match=said):
            import_captures(ImportOptions((path,), tmp_path / "dump"))
        assert not (tmp_path / "dump").exists()


def test_a_fork_that_is_gone_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    capture = write(tmp_path / "capture.pcap", pcap(crowd(1, 60)))
    monkeypatch.setattr(apart, "is_possible", lambda: True)
    monkeypatch.setattr(reading, "BATCH", 0)

    def killed(steps: Iterator[reading.Step]) -> Iterator[object]:
        os.kill(os.getpid(), signal.SIGKILL)
        yield from steps

    monkeypatch.setattr(reading, "_lean", killed)
    said = f"cannot read {capture}: the process that reads ahead has ended"
    with pytest.raises(PlaygroundError, match=re.escape(said)):
        import_captures(ImportOptions((capture,), tmp_path / "dump"))


def test_any_number_of_interfaces_comes_over_once(tmp_path: Path) -> None:
    parts = []
    for section_number in range(3):
        parts.append(section())
        for number in range(200):
            parts += [interface(offset=number), enhanced(bytes(40), section_number, which=number)]
    path = write(tmp_path / "capture.pcapng", b"".join(parts))
    steps = [step for step in reading._steps([path], True, records.allocate) if step.batch is not None]
    lean = list(reading._lean(iter(steps)))
    assert sum(len(added) for _, _, added in lean) == 600 and sum(begins for _, begins, _ in lean) == 3
    apart_steps = reading.StepsApart(path)
    try:
        for step in steps:
            other = next(apart_steps)
            assert step.batch is not None and other.batch is not None
            mine, their = step.batch.interfaces, other.batch.interfaces
            assert len(mine) == len(their)
            assert [mine[number] for number in range(len(mine))] == [their[n] for n in range(len(their))]
    finally:
        apart_steps.close()


def test_large_blocks_stay_where_they_are(tmp_path: Path) -> None:
    """Nothing that long goes through the pipe: there it would take as much time with each batch."""
    parts = [section(), interface()]
    for _ in range(5):
        parts += [block("<", 0x0BAD, bytes(records.BLOCK_MOST - 16)), enhanced(bytes(40), 1)]
    path = write(tmp_path / "capture.pcapng", b"".join(parts))
    shared = Shared(apart.SLOTS * records.BUFFER, 1 << 20)
    count = 0
    for step in reading._steps([path], True, shared.allocate):
        if step.batch is not None:
            count += 1
            assert shared.find(step.batch.buffer) is not None
    assert count == 5
