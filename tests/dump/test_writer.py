"""The writer: one dump whatever way the bytes came, a file that is whole whatever went wrong."""

from __future__ import annotations

import os
import random
import signal
import stat
import subprocess
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from dump.making import FAMILIES, connect, create, every_ending, length_limit, opened, say, writing
from hypothesis import given, settings
from hypothesis import strategies as st

from needs import cannot_run, needs_root
from netplayground.dump import blocks
from netplayground.dump import connection as connection_module
from netplayground.dump.check import check_dump
from netplayground.dump.connection import CHUNK_MOST
from netplayground.dump.model import CLIENT, SERVER, Ending, Process, RunHeader, State
from netplayground.dump.reader import open_dump
from netplayground.dump.segments import SEGMENT_MOST
from netplayground.dump.writer import DumpWriter, check_writable
from netplayground.errors import DumpError

ATTEMPTS: tuple[Callable[[Path], object], ...] = (create, check_writable)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    needs_root()
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", place], capture_output=True
    ).returncode:
        cannot_run("needs to mount a tmpfs")
    yield place
    subprocess.run(["umount", place], check=True)


@st.composite
def lengths_and_skips(draw: st.DrawFn) -> tuple[int, list[int]]:
    """Give a chunk's length and how much of it went elsewhere: anything, and what is near a segment's end."""
    near = st.builds(lambda count, more: count * SEGMENT_MOST + more, st.integers(0, 5), st.integers(-4, 4))
    lengths = near | st.sampled_from([CHUNK_MOST - 1, CHUNK_MOST]) | st.integers(1, CHUNK_MOST)
    length = draw(lengths.filter(lambda value: value > 0))
    skips = (near | st.integers(0, length - 1)).filter(lambda value: 0 <= value < length)
    return length, [0, *draw(st.lists(skips, max_size=8)), length - 1]


@settings(max_examples=60, deadline=None)
@given(case=lengths_and_skips(), waiting=st.integers(0, 3), family=st.sampled_from(FAMILIES))
def test_where_a_chunk_went_is_where_its_bytes_are(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[int, list[int]], waiting: int, family: int
) -> None:
    (length, skips), path = case, tmp_path_factory.mktemp("extents") / "d"
    data = random.Random(length).randbytes(length)
    with writing(path) as writer:
        connection = opened(writer, family)
        for _ in range(waiting):
            writer.fact("waits")
        where = connection.chunk(SERVER, memoryview(data))
        assert os.pread(writer.fileno(), min(length, SEGMENT_MOST), where) == data[:SEGMENT_MOST]
        for skip in skips:
            extents = connection.extents(where, skip, length)
            assert all(0 < size <= SEGMENT_MOST for _at, size in extents)
            assert b"".join(os.pread(writer.fileno(), size, at) for at, size in extents) == data[skip:]
    check_dump(path)
    with open_dump(path) as dump:
        assert b"".join(dump.payload(event) for event in dump.events(0)) == data


@pytest.mark.parametrize("family", FAMILIES)
def test_a_copied_chunk_and_a_gathered_one_are_told_alike(
    tmp_path: Path, family: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dumps = []
    for copied in (1 << 14, 0):
        monkeypatch.setattr(connection_module, "_COPY_MOST", copied)
        with writing(tmp_path / "d") as writer:
            connection = opened(writer, family)
            for length in (1, 2, 3, 4, 1000, 1 << 14):
                say(connection, length & 1, bytes([length & 255]) * length)
        dumps.append((tmp_path / "d").read_bytes())
    assert dumps[0] == dumps[1]


def test_bytes_are_in_the_file_before_chunk_returns_and_all_before_them_too(tmp_path: Path) -> None:
    writer = create(tmp_path / "d")
    connection = connect(writer)
    before = (tmp_path / "d").stat().st_size
    connection.syn()
    connection.established()
    assert (tmp_path / "d").stat().st_size == before
    say(connection, CLIENT, b"now")
    assert (tmp_path / "d").stat().st_size == writer.bytes_written
    connection.fin(CLIENT)
    writer.flush()
    assert (tmp_path / "d").stat().st_size == writer.bytes_written
    writer.close()


def test_a_dump_is_its_owners_alone_and_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "d"
    path.write_bytes(b"old" * 100_000)
    path.chmod(0o666)
    with writing(path):
        pass
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert check_dump(path).totals.connections == 0


def test_a_second_writer_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "d"
    with writing(path) as writer:
        say(opened(writer), CLIENT, b"mine")
        for attempt in ATTEMPTS:
            with pytest.raises(DumpError) as caught:
                attempt(path)
            assert str(caught.value) == f"cannot write {path}: another run is writing it"
    assert check_dump(path).totals.bytes == (4, 0)
    check_writable(path)


def test_places_that_cannot_be_written_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"kept")
    os.mkfifo(tmp_path / "fifo")
    causes = {
        tmp_path: "Is a directory",
        tmp_path / "fifo": "not a regular file",
        tmp_path / "no" / "d": "No such file or directory",
        tmp_path / "file" / "d": "Not a directory",
        tmp_path / ("n" * 300): "File name too long",
        Path("/dev/null"): "not a regular file",
    }
    before = sorted(tmp_path.iterdir())
    for path, cause in causes.items():
        for attempt in ATTEMPTS:
            with pytest.raises(DumpError) as caught:
                attempt(path)
            assert str(caught.value) == f"cannot write {path}: {cause}"
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "file").read_bytes() == b"kept"


def test_commands_too_long_for_a_dump_are_refused_before_anything_is_changed(tmp_path: Path) -> None:
    command = os.fsdecode(b"\xff" * 120_000)
    processes = tuple(Process(f"node{number}", number, (), command) for number in range(14))
    (tmp_path / "old").write_bytes(b"kept")
    for name in ("new", "old"):
        with pytest.raises(DumpError) as caught:
            DumpWriter.create(tmp_path / name, RunHeader((), processes), 0)
        assert str(caught.value).startswith(f"cannot write {tmp_path / name}: commands and options of 10,")
        assert str(caught.value).endswith(" bytes are too long for a dump")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old").read_bytes() == b"kept"


@pytest.mark.parametrize("spare", [0, 4])
def test_the_longest_commands_that_fit_are_read_back(tmp_path: Path, spare: int) -> None:
    def run(length: int) -> RunHeader:
        return RunHeader((), (Process("a", 1, (), "x" * length),))

    fits = blocks.MOST - len(blocks.emit_run(run(0), 0)) - spare
    DumpWriter.create(tmp_path / "d", run(fits), 0).close()
    assert len(check_dump(tmp_path / "d").missing) == 0
    with open_dump(tmp_path / "d") as dump:
        assert dump.run.processes[0].command == "x" * fits
    with pytest.raises(DumpError, match="too long for a dump"):
        DumpWriter.create(tmp_path / "e", run(blocks.MOST), 0)


def test_asking_whether_a_dump_can_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"kept")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "d")
    check_writable(tmp_path / "new")
    check_writable(tmp_path / "old")
    with pytest.raises(DumpError, match="No such file or directory"):
        check_writable(tmp_path / "link")
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "old").read_bytes() == b"kept"


def assert_torn_but_whole(path: Path, said: int) -> None:
    with open_dump(path) as dump:
        assert dump.state is State.TORN
        assert dump.end == dump.size, "cut back to the last whole block"
        assert sum(dump.connections[0].bytes) == said


@pytest.mark.parametrize("piece", [1000, 70_000])
def test_a_full_disk_is_one_line_and_what_was_written_stays(small_disk: Path, piece: int) -> None:
    path, said = small_disk / "d", 0
    writer = create(path)
    connection = opened(writer)
    with pytest.raises(DumpError) as caught:
        while True:
            say(connection, SERVER, bytes(piece))
            said += piece
    assert str(caught.value) == f"cannot write {path}: No space left on device"
    with pytest.raises(DumpError, match="No space left on device"):
        say(connection, SERVER, bytes(piece))
    connection.fin(CLIENT)
    with pytest.raises(DumpError, match="No space left on device"):
        writer.flush()
    writer.close()
    writer.close()
    assert said > 500_000
    assert_torn_but_whole(path, said)


def test_a_full_disk_at_the_first_block_leaves_no_file(small_disk: Path) -> None:
    with (
        pytest.raises(OSError, match="No space left"),
        (small_disk / "filler").open("wb", buffering=0) as filler,
    ):
        while True:
            filler.write(bytes(1 << 16))
    with pytest.raises(DumpError, match="No space left on device"):
        create(small_disk / "d")
    assert not (small_disk / "d").exists()


@pytest.mark.parametrize("most", [100_001, 65_536, 131_072 + 700])
def test_a_file_that_may_grow_no_more_is_one_line(tmp_path: Path, most: int) -> None:
    path = tmp_path / "d"
    writer = create(path)
    connection = opened(writer)
    said = 0
    with length_limit(most), pytest.raises(DumpError, match=f"cannot write {path}: File too large"):
        while True:
            say(connection, SERVER, bytes(30_000))
            said += 30_000
    writer.close()
    assert_torn_but_whole(path, said)


def test_a_disk_that_is_full_at_the_end_leaves_a_torn_dump(tmp_path: Path) -> None:
    path = tmp_path / "d"
    writer = create(path)
    say(opened(writer), CLIENT, b"all there")
    with length_limit(writer.bytes_written + 10), pytest.raises(DumpError, match="File too large"):
        writer.close()
    assert_torn_but_whole(path, 9)


@pytest.mark.parametrize(
    ("harm", "cause"),
    [
        (lambda path: os.truncate(path, 0), "another program changed it"),
        (lambda path: os.truncate(path, 1 << 20), "another program changed it"),
        (lambda path: path.unlink(), "it was deleted"),
    ],
)
def test_a_dump_that_another_program_harms_is_never_called_complete(
    tmp_path: Path, harm: Callable[[Path], None], cause: str
) -> None:
    path = tmp_path / "d"
    writer = create(path)
    connection = opened(writer)
    say(connection, CLIENT, b"all there")
    harm(path)
    with pytest.raises(DumpError, match=f"cannot write {path}: {cause} while it was written"):
        writer.close()
    try:
        assert check_dump(path).state is State.TORN
    except DumpError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize("harm", [lambda path: os.truncate(path, 0), lambda path: path.unlink()])
def test_a_dump_that_another_program_harms_during_bulk_ends_the_recording(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    path = tmp_path / "d"
    writer = create(path)
    connection = opened(writer)
    harm(path)
    with pytest.raises(DumpError, match="while it was written"):
        for _ in range(30):
            say(connection, CLIENT, bytes(100_000))
    writer.close()


def test_after_its_end_a_connection_tells_nothing_more(tmp_path: Path) -> None:
    with writing(tmp_path / "d") as writer:
        connection = opened(writer)
        connection.fin(CLIENT)
        connection.fin(CLIENT)
        connection.rst(SERVER)
        connection.rst(CLIENT)
        connection.fin(SERVER)
        with pytest.raises(AssertionError):
            say(connection, SERVER, b"late")
    with open_dump(tmp_path / "d") as dump:
        assert [event.kind.value for event in dump.events(0)] == ["syn", "established", "fin", "rst"]
        assert dump.connections[0].ending is Ending.RESET_BY_SERVER


def test_the_totals_of_the_writer_are_those_of_the_dump(tmp_path: Path) -> None:
    with writing(tmp_path / "d") as writer:
        for family in FAMILIES:
            every_ending(writer, family)
    report = check_dump(tmp_path / "d")
    assert (writer.totals.connections, writer.totals.bytes) == (
        report.totals.connections,
        report.totals.bytes,
    )


def test_memory_stays_the_same_however_long_the_run(tmp_path: Path) -> None:
    with writing(tmp_path / "d") as writer:
        connection = opened(writer)

        def load() -> None:
            for _ in range(40_000):
                say(connection, CLIENT, b"tick")
            for number in range(9_000):
                refused = connect(writer, 4, 1024 + number)
                refused.syn()
                refused.refused()

        load()
        tracemalloc.start()
        load()
        first = tracemalloc.get_traced_memory()[0]
        for _ in range(3):
            load()
        growth = tracemalloc.get_traced_memory()[0] - first
        tracemalloc.stop()
    # Pages go up and down by up to two megabytes; three loads kept would be five.
    assert growth < 2_500_000
    assert check_dump(tmp_path / "d").totals.connections == 5 * 9_000 + 1


@pytest.mark.parametrize("size", [100, 90_000])
def test_a_killed_writer_has_in_the_file_all_that_it_said_was_there(tmp_path: Path, size: int) -> None:
    path = tmp_path / "d"
    for attempt in range(8):
        reader, reports = os.pipe()
        child = os.fork()
        if child == 0:
            _write_until_killed(path, reports, size)
        os.close(reports)
        told, enough = b"", 8 * (20 + 97 * attempt)
        while len(told) < enough:
            told += os.read(reader, 4096)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        while piece := os.read(reader, 65536):
            told += piece
        os.close(reader)
        assert len(told) % 8 == 0
        promised = int.from_bytes(told[-8:], "big")
        with open_dump(path) as dump:
            assert dump.state is State.TORN
            assert dump.connections[0].bytes[CLIENT] >= promised
            content = b"".join(dump.payload(event) for event in dump.events(0))
        assert content == b"0123456789" * (len(content) // 10) + b"0123456789"[: len(content) % 10]


def _write_until_killed(path: Path, reports: int, size: int) -> NoReturn:
    try:
        connection, said = opened(create(path)), 0
        piece = b"0123456789" * (size // 10)
        while True:
            say(connection, CLIENT, piece)
            said += len(piece)
            os.write(reports, said.to_bytes(8, "big"))
    finally:
        os._exit(1)
