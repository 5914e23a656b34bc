"""The checkers themselves: each notices what it is there for."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from journey.dumps import Stream, ask_tshark, assert_same, assert_unflagged, check_dump
from journey.runs import Place, python, record, run
from journey.talk import tag

from needs import needs_program, needs_tun

PORT = 7000


@pytest.fixture
def streams(place: Place) -> list[Stream]:
    """A dump in the place, and what went over its five connections."""
    needs_tun()
    serve, call = python("talk.py", "serve-all", PORT, 5), python("talk.py", "call-all", "10.0.0.1", PORT, 5)
    ended = record(place, serve, call, options=("--ready", "p1"))
    assert ended.status == 0, ended
    return check_dump(place, connections=5)


def test_streams_are_what_the_programs_said(streams: list[Stream]) -> None:
    assert sorted(stream.sent for stream in streams) == sorted(tag(number) for number in range(5))
    assert all(stream.received == stream.sent for stream in streams)


def test_another_byte_is_noticed(place: Place, streams: list[Stream]) -> None:
    content = bytearray(place.dump.read_bytes())
    at = content.rindex(streams[3].sent)
    content[at + 3] ^= 1
    place.dump.write_bytes(content)
    with pytest.raises(AssertionError, match="differ at 3"):
        assert_same(ask_tshark(place.dump, 5).streams, streams)
    with pytest.raises(AssertionError, match="CRC"):
        check_dump(place)


def test_a_missing_segment_is_noticed(place: Place, streams: list[Stream]) -> None:
    with pytest.raises(AssertionError, match="tshark flags"):
        assert_unflagged(_without_first_payload(place))


def _without_first_payload(place: Place) -> Path:
    needs_program("tshark", "editcap")
    find = ["tshark", "-n", "-r", str(place.dump), "-Y", "tcp.len > 0", "-T", "fields", "-e", "frame.number"]
    first = subprocess.run(find, check=True, capture_output=True, text=True).stdout.split()[0]
    cut = place.path / "cut.pcapng"
    subprocess.run(["editcap", str(place.dump), str(cut), first], check=True, capture_output=True)
    return cut


def test_a_process_that_is_left_is_noticed(place: Place) -> None:
    needs_program("setsid")
    with pytest.raises(AssertionError, match=r"left behind: .*sleep 77") as caught:
        run(place, ["sh", "-c", "setsid sleep 77 & exit 0"])
    for pid in re.findall(r"process (\d+): sleep 77", str(caught.value)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def test_a_temporary_file_that_is_left_is_noticed(place: Place) -> None:
    with pytest.raises(AssertionError, match=r"left behind: .*forgotten"):
        run(place, ["sh", "-c", ': > "$TMPDIR/forgotten"'])
