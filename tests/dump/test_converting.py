"""A dump of the original program becomes one of this program."""

from __future__ import annotations

from pathlib import Path

from dump.test_tunreplay import SAMPLE, Record, emit, open_tunreplay, talk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netplayground.dump.check import check_dump
from netplayground.dump.converting import convert
from netplayground.dump.model import CLIENT, SERVER, Ending, EventKind, State
from netplayground.dump.reader import open_dump
from netplayground.dump.recording import Recording
from netplayground.errors import NotADumpError


def converted(path: Path) -> Path:
    output = path.with_name("converted")
    with open_tunreplay(path) as original, output.open("w+b") as file:
        convert(original, output, file.fileno())
    check_dump(output)
    return output


def told(recording: Recording) -> list[object]:
    """What both formats tell alike: of each connection its ends, its bytes and its ending."""
    streams: dict[tuple[int, int], bytes] = {}
    kinds = []
    for identity, event in recording.all_events():
        kinds.append((identity, event.kind, event.side))
        if event.kind is EventKind.CHUNK:
            key = identity, event.side
            streams[key] = streams.get(key, b"") + recording.payload(event)
    ends = [(each.client, each.server, each.ending, each.bytes) for each in recording.connections]
    return [kinds, streams, ends, recording.processes, recording.state]


def test_the_sample_is_told_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "d"
    path.write_bytes(SAMPLE.read_bytes())
    with open_tunreplay(path) as original, open_dump(converted(path)) as copy:
        assert told(copy) == told(original)
        assert [event.time_ns for _, event in copy.all_events()] == [
            event.time_ns for _, event in original.all_events()
        ]
        assert copy.ended_ns == original.ended_ns


def test_a_clock_that_went_back_stands_still(tmp_path: Path) -> None:
    path = tmp_path / "d"
    first, second = talk((CLIENT, b"question"), (SERVER, b"answer"))
    path.write_bytes(emit([first, second._replace(time_us=5)]))
    with open_dump(converted(path)) as copy:
        assert [event.time_ns for _, event in copy.all_events()] == [1_000_000_000] * 4


def test_a_torn_one_stays_torn(tmp_path: Path) -> None:
    path = tmp_path / "d"
    path.write_bytes(emit(talk((CLIENT, b"question"), (SERVER, b"answer")))[:-2])
    with open_dump(converted(path)) as copy:
        assert copy.state is State.TORN
        (connection,) = copy.connections
        assert connection.bytes == (8, 0) and connection.ending is Ending.OPEN


RECORDS = st.lists(
    st.builds(
        Record,
        st.integers(1, 10**15),
        st.binary(max_size=5),
        st.sampled_from(["10.0.0.2", "10.0.0.3"]),
        st.just("10.0.0.1"),
        st.sampled_from([80, 81]),
        st.sampled_from([CLIENT, SERVER]),
    ),
    min_size=1,
    max_size=20,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(RECORDS)
def test_whatever_was_recorded_is_told_alike(tmp_path: Path, records: list[Record]) -> None:
    path = tmp_path / "d"
    path.write_bytes(emit(records))
    try:
        with open_tunreplay(path) as original:
            expected = told(original)
    except NotADumpError:
        return
    with open_dump(converted(path)) as copy:
        assert told(copy) == expected
