"""A dump without its secrets: what is replaced, and that the copy is a dump like any other."""

from __future__ import annotations

import gzip
import random
import re
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path

import pytest
from dump.making import FAMILIES, RUN, Clock, create, every_ending, opened, say, writing
from dump.test_tunreplay import emit
from dump.test_tunreplay import talk as original
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netplayground.dump import ledger
from netplayground.dump.check import check_dump
from netplayground.dump.model import CLIENT, SERVER, State
from netplayground.dump.reader import Dump, open_dump
from netplayground.dump.writer import DumpWriter
from netplayground.errors import DamagedDumpError, UsageError
from netplayground.packet import icmp, ip, udp
from netplayground.packet.checksum import internet_checksum, pseudo_header_sum
from netplayground.replay.masks import parse_masks
from netplayground.replay.redaction import parse_redactions
from netplayground.replay.tape import load_tape
from netplayground.report.redaction import Redacted, redact

DB = {4: ip_address("10.0.0.1").packed, 6: ip_address("fd00:706c:67::1").packed}
APP = {4: ip_address("10.0.0.2").packed, 6: ip_address("fd00:706c:67::2").packed}


def redacted(path: Path, *patterns: bytes) -> tuple[Path, Redacted]:
    """The copy, which is whole by its own check."""
    output = path.with_name("redacted")
    with output.open("w+b") as file:
        done = redact(path, output, file.fileno(), parse_masks(patterns), lambda done, size: None)
    check_dump(output)
    return output, done


def test_progress_goes_from_the_beginning_to_the_end_and_never_back(tmp_path: Path) -> None:
    path = talk(tmp_path / "dump", *[b"secret %d" % number + bytes(1 << 16) for number in range(8)])
    shown: list[tuple[int, int]] = []
    with (tmp_path / "redacted").open("w+b") as file:
        patterns = parse_masks([b"secret", b"[0-9]+"])
        redact(path, tmp_path / "redacted", file.fileno(), patterns, lambda *told: shown.append(told))
    assert shown == sorted(shown)
    size = path.stat().st_size
    assert {each for _, each in shown} == {size}
    assert shown[0][0] < size / 3 and size * 5 / 6 < shown[-1][0] <= size


def told(dump: Dump) -> list[object]:
    """All that a dump tells, but for payload."""
    return [*dump.in_order(), *dump.connections, dump.state, dump.missing.split(";")[0]]


def stream(dump: Dump, connection: int, side: int) -> bytes:
    return b"".join(dump.payload(event) for event in dump.events(connection) if event.side == side)


def talk(path: Path, *chunks: bytes) -> Path:
    with writing(path) as writer:
        connection = opened(writer)
        for chunk in chunks:
            say(connection, CLIENT, chunk)
        connection.fin(CLIENT)
        connection.fin(SERVER)
    return path


def test_a_match_is_replaced_across_chunks_and_nothing_else(tmp_path: Path) -> None:
    path = talk(tmp_path / "d", b"pass", b"word=hun", b"ter2&x=hunter", b"2")
    output, done = redacted(path, b"hunter2")
    with open_dump(path) as dump, open_dump(output) as copy:
        assert stream(copy, 0, CLIENT) == b"password=xxxxxxx&x=xxxxxxx"
        assert told(copy) == told(dump)
        assert copy.totals.facts == 1
        assert parse_redactions(copy.facts()).streams == {(0, CLIENT): [(9, 16), (19, 26)]}
    assert (done.bytes, done.spans, done.commands) == (14, 2, 0)
    assert b"hunter2" not in output.read_bytes()


def test_directions_and_connections_are_streams_of_their_own(tmp_path: Path) -> None:
    with writing(tmp_path / "d") as writer:
        one, other = opened(writer), opened(writer, 6, 40001)
        for connection, side, data in (
            (one, 0, b"se"),
            (one, 1, b"cret"),
            (other, 0, b"cret"),
            (one, 0, b"cret"),
        ):
            say(connection, side, data)
    output, done = redacted(tmp_path / "d", b"secret")
    assert done.spans == 1
    with open_dump(output) as copy:
        assert [stream(copy, 0, 0), stream(copy, 0, 1), stream(copy, 1, 0)] == [b"xxxxxx", b"cret", b"cret"]


def test_what_any_pattern_covers_is_replaced(tmp_path: Path) -> None:
    output, done = redacted(talk(tmp_path / "d", b"abcdefgh"), b"abcd", b"cdef", b"gg")
    assert done.bytes == 6
    with open_dump(output) as copy:
        assert stream(copy, 0, CLIENT) == b"xxxxxxgh"


@pytest.mark.parametrize("family", FAMILIES)
def test_every_ending_is_told_as_before(tmp_path: Path, family: int) -> None:
    with writing(tmp_path / "d") as writer:
        every_ending(writer, family)
        writer.fact("thing", answer=42)
    output, _ = redacted(tmp_path / "d", b"answer|question")
    with open_dump(tmp_path / "d") as dump, open_dump(output) as copy:
        assert told(copy) == told(dump) and copy.ended_ns == dump.ended_ns
        assert [fact.kind for fact in copy.facts()][:-2] == [fact.kind for fact in dump.facts()]
        assert stream(copy, 0, SERVER) == b"xxxxxx after the half-close"


def test_a_torn_dump_stays_torn_and_what_is_not_whole_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "d"
    writer = create(path)
    connection = opened(writer)
    say(connection, CLIENT, b"my secret")
    writer.close(complete=False)
    with path.open("ab") as file:
        file.write(b"\0\0\0\6\0\0\1\0 a secret that was cut off")
    output, done = redacted(path, b"secret")
    assert done.missing and b"secret" not in output.read_bytes()
    with open_dump(output) as copy:
        assert copy.state is State.TORN and stream(copy, 0, CLIENT) == b"my xxxxxx"
        assert load_tape(copy).redactions.streams == {(0, CLIENT): [(3, 9)]}


@pytest.mark.parametrize("family", FAMILIES)
def test_datagrams_keep_right_checksums(tmp_path: Path, family: int) -> None:
    ping = icmp.emit_message(APP[family], DB[family], 128 if family == 6 else 8, 0, b"\0\1\0\2my secret")
    bare = bytearray(udp.emit_packet(APP[4], 1, DB[4], 2, b"a secret without a sum"))
    bare[26:28] = b"\0\0"
    packets = [udp.emit_packet(APP[family], 1, DB[family], 2, b"se secret"), ping, bytes(bare)]
    with writing(tmp_path / "d") as writer:
        batch = writer.datagrams()
        for sent in packets:
            batch.put(sent)
        batch.commit()
    output, done = redacted(tmp_path / "d", b"secret")
    assert done.spans == 3
    with open_dump(output) as copy:
        first, second, third = copy.datagrams()
        assert copy.payload(first) == b"se xxxxxx" and copy.payload(second)[8:] == b"my xxxxxx"
        for each in (first, second):
            packet = ip.parse_packet(copy.read(each.packet_offset, each.packet_length))
            pseudo = pseudo_header_sum(packet.source, packet.destination, each.protocol, len(packet.payload))
            start = 0 if each.protocol == ip.ICMP else pseudo
            assert internet_checksum(packet.payload, start) == 0
        assert copy.read(third.offset - 2, 2) == b"\0\0"
        assert parse_redactions(copy.facts()).datagrams[first.offset] == [(3, 9)]


def test_the_headers_that_an_icmp_error_quotes_stay(tmp_path: Path) -> None:
    quoted = udp.emit_packet(APP[4], 1, DB[4], 2, b"secret")
    error = icmp.emit_message(DB[4], APP[4], 3, 3, bytes(4) + quoted)
    with writing(tmp_path / "d") as writer:
        batch = writer.datagrams()
        batch.put_named(error, 1)
        batch.commit()
    output, _ = redacted(tmp_path / "d", b"(?s).")
    with open_dump(output) as copy:
        payload = copy.payload(next(copy.datagrams()))
        assert payload[8:-6] == quoted[:-6] and payload[-6:] == b"xxxxxx"


def test_commands_are_redacted_by_whole_characters(tmp_path: Path) -> None:
    process = RUN.processes[0]
    commands = ("login --key s\u00e9cret\U0001f511 \udcff", "login")
    run = type(RUN)(
        RUN.subnets,
        tuple(type(process)(f"p{n}", n, (), command) for n, command in enumerate(commands, 1)),
        RUN.options,
    )
    DumpWriter.create(tmp_path / "d", run, 1, Clock()).close()
    output, done = redacted(tmp_path / "d", b"(?<=key )s\xc3", b"\xf0\x9f", b"\xff")
    assert done.commands == 1
    with open_dump(output) as copy:
        assert [each.command for each in copy.run.processes] == ["login --key xxxcretxxxx x", "login"]


def test_what_facts_and_options_tell_is_redacted_but_what_holds_the_dump_together(tmp_path: Path) -> None:
    run = type(RUN)(RUN.subnets, RUN.processes, {**RUN.options, "captures": ["/home/secret.pcap"]})
    writer = DumpWriter.create(tmp_path / "d", run, 1, Clock())
    writer.fact("told", process="db", text="my secr\u00e9t", more={"secret": ["secret", 1, None, 0.25]})
    opened(writer).note("told", side="client", text="no")
    writer.close()
    output, done = redacted(tmp_path / "d", rb"secr\S+", b"(?s)db|client|told|80|mtu")
    assert (done.commands, done.facts) == (1, 1)
    with open_dump(output) as copy:
        first, second, *_ = copy.facts()
        assert (first.kind, dict(first.fields)) == (
            "told",
            {"process": "db", "text": "my xxxxxxx", "more": {"secret": ["xxxxxx", 1, None, 0.25]}},
        )
        assert dict(second.fields) == {"side": "client", "text": "no"}
        assert copy.run.options == {**RUN.options, "captures": ["/home/xxxxxxxxxxx"]}
        assert copy.processes[1].command == "ask 'xx'"
    text = output.read_bytes()
    assert b"secr" not in text.replace(b'"secret":', b"")


def test_a_match_that_may_be_no_longer_is_counted_where_something_stands_behind(tmp_path: Path) -> None:
    long = b"password=" + b"s" * 70_000
    output, done = redacted(talk(tmp_path / "d", long[:40_000], long[40_000:] + b"&"), b"(?<=password=)[^&]*")
    assert (done.cut, done.bytes) == (1, 1 << 16)
    with open_dump(output) as copy:
        assert stream(copy, 0, CLIENT) == b"password=" + b"x" * (1 << 16) + b"s" * (70_000 - (1 << 16)) + b"&"
    output, done = redacted(tmp_path / "d", b"(?s).*")
    assert (done.cut, done.bytes) == (0, len(long) + 1)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (b"^one", b"xxx two\ntwo one"),
        (b"one$", b"one two\ntwo xxx"),
        (b"(?m)^two|two$", b"one xxx\nxxx one"),
        (rb"\bt?", b"one xwo\nxwo one"),
        (b"", None),
        (b"(?=t)", None),
        (b"x*", b"one two\ntwo one"),
        (b"(?i)ONE (?=T)", b"xxxxtwo\ntwo one"),
        (b"(?s).+", b"x" * 15),
    ],
)
def test_anchors_and_empty_matches(tmp_path: Path, pattern: bytes, expected: bytes | None) -> None:
    path = talk(tmp_path / "d", *(b"one two\ntwo one"[at : at + 2] for at in range(0, 15, 2)))
    if expected is None:
        with pytest.raises(UsageError, match="it matches the empty string only"):
            redacted(path, pattern)
        return
    output, _ = redacted(path, pattern)
    with open_dump(output) as copy:
        assert stream(copy, 0, CLIENT) == expected


def test_patterns_that_overlap_cover_what_either_covers(tmp_path: Path) -> None:
    output, done = redacted(talk(tmp_path / "d", b"abc", b"def"), b"bcd", b"de", b"cd")
    assert (done.spans, done.bytes) == (1, 4)
    with open_dump(output) as copy:
        assert stream(copy, 0, CLIENT) == b"axxxxf"


def test_nothing_is_unpacked(tmp_path: Path) -> None:
    body = gzip.compress(b"password=hunter2 " * 100)
    output, done = redacted(talk(tmp_path / "d", b"hunter2", body), b"hunter2")
    assert (done.spans, done.unreadable) == (1, 1)
    with open_dump(output) as copy:
        assert stream(copy, 0, CLIENT) == b"xxxxxxx" + body


@pytest.mark.parametrize(
    ("said", "unreadable"),
    [(b"plain \x16\x03", 0), (b"\x16\x03\x01\x02", 1), (b"then \x28\xb5\x2f\xfd", 1), (b"\x1f\x8b", 0)],
)
def test_what_is_packed_or_encrypted_is_counted(tmp_path: Path, said: bytes, unreadable: int) -> None:
    _, done = redacted(talk(tmp_path / "d", said[:1], said[1:]), b"secret")
    assert done.unreadable == unreadable


def test_a_dump_of_the_original_program_becomes_one_of_this(tmp_path: Path) -> None:
    path = tmp_path / "d"
    path.write_bytes(emit(original((CLIENT, b"my sec"), (CLIENT, b"ret"), (SERVER, b"a secret"))))
    output, done = redacted(path, b"secret")
    assert done.original and not done.missing and not done.ambiguous
    with open_dump(output) as copy:
        assert stream(copy, 0, CLIENT) == b"my xxxxxx" and stream(copy, 0, SERVER) == b"a xxxxxx"
        assert load_tape(copy).redactions.streams == {(0, CLIENT): [(3, 9)], (0, SERVER): [(2, 8)]}


def test_what_was_redacted_before_stays_known(tmp_path: Path) -> None:
    once, _ = redacted(talk(tmp_path / "d", b"one two three"), b"two")
    once = once.rename(tmp_path / "once")
    twice, done = redacted(once, b"three")
    assert done.bytes == 5
    with open_dump(twice) as copy:
        assert load_tape(copy).redactions.streams == {(0, CLIENT): [(4, 7), (8, 13)]}


def test_a_dump_with_pages_in_its_midst_is_checked_as_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "SUMS_MOST", 2)
    monkeypatch.setattr(ledger, "ENTRIES_MOST", 3)
    block = (b"secret" + bytes(1000)) * 60
    with writing(tmp_path / "d") as writer:
        connection = opened(writer)
        for _ in range(160):
            say(connection, CLIENT, block)
    output, done = redacted(tmp_path / "d", b"secret")
    assert done.spans == 60 * 160 and b"secret" not in output.read_bytes()
    with open_dump(output) as copy:
        kinds = {entry.what for entry in copy.entries if entry.offset < copy.end}
        assert b"plgS" in kinds and len(parse_redactions(copy.facts()).streams[0, CLIENT]) == done.spans


def test_a_damaged_dump_does_not_become_a_good_one(tmp_path: Path) -> None:
    path = talk(tmp_path / "d", b"something that will change")
    path.write_bytes(path.read_bytes().replace(b"will change", b"was changed"))
    with pytest.raises(DamagedDumpError):
        redacted(path, b"x")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chunks=st.lists(st.text("abc", min_size=1, max_size=6), min_size=1, max_size=6))
def test_the_same_is_replaced_however_it_was_cut(tmp_path: Path, chunks: list[str]) -> None:
    said = "".join(chunks).encode()
    output, done = redacted(talk(tmp_path / "d", *(chunk.encode() for chunk in chunks)), b"ab+c?")
    expected = re.sub(b"ab+c?", lambda match: b"x" * len(match[0]), said)
    with open_dump(output) as copy:
        assert stream(copy, 0, CLIENT) == expected
    assert done.bytes == expected.count(b"x")


def test_a_match_is_found_wherever_it_lies_in_a_long_stream(tmp_path: Path) -> None:
    """A stream is searched in windows: secrets lie at each border that such a window may have."""
    chance = random.Random(5)
    said = bytearray(chance.choices(b"abc =&\n", k=400_000))
    for border in range(16_384, len(said), 16_384):
        at = border - chance.randrange(20)
        said[at : at + 17] = b"password=hunter2&"
    patterns = (rb"(?<=password=)[^&]*", rb"(?m)^a.*$", rb"\bcab\b")
    expected = bytearray(said)
    for pattern in patterns:
        for found in re.finditer(pattern, said):
            expected[found.start() : found.end()] = b"x" * len(found[0])
    cuts = sorted({0, len(said), *(chance.randrange(len(said)) for _ in range(200))})
    chunks = [bytes(said[start:end]) for start, end in pairwise(cuts)]
    output, _ = redacted(talk(tmp_path / "d", *chunks), *patterns)
    with open_dump(output) as copy:
        assert stream(copy, 0, CLIENT) == bytes(expected)
