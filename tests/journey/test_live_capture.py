"""`plg capture` on a wire between two namespaces: right streams, right counts, a dump whatever ends it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import re
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from capture.wires import HERE, THERE, THERE6, Net, Wire, laid, speak
from journey.dumps import (
    Stream,
    ask_tshark,
    assert_same,
    assert_whole,
    check_dump,
    chunks_of,
    read_streams,
)
from journey.ordinary import as_nobody
from journey.runs import Ended, Place, Run, plg, run, running

from needs import needs_program, needs_root
from netplayground.dump.model import CLIENT, SERVER, Ending
from netplayground.dump.reader import Dump, open_dump

DEADLINE_S = 30.0
MIB = 1 << 20


@pytest.fixture
def wire() -> Iterator[Wire]:
    with laid() as wire:
        yield wire


@contextlib.contextmanager
def capturing(place: Place, net: Net, *words: str, before: Sequence[str] = ()) -> Iterator[Run]:
    """Capture on the wire's end in a namespace; what is in the block is seen."""
    command = [*(before or plg()), "capture", "-f", str(place.dump), *words]
    with contextlib.ExitStack() as stack:
        with net.entered():
            started = stack.enter_context(running(place, command))
        wait_until(lambda: has_begun(place, net) or started.process.poll() is not None)
        yield started


def has_begun(place: Place, net: Net) -> bool:
    """Say whether plg hears: the dump is made after the filter, for which libpcap hears for a moment."""
    return place.dump.exists() and hearers(net) > 0


def hearers(net: Net) -> int:
    """Count the packet sockets that are bound: such a line has ETH_P_ALL and an interface, or it hears all of
    them (SOCK_DGRAM)."""
    with net.entered():
        lines = Path("/proc/thread-self/net/packet").read_text().splitlines()[1:]
    return sum(
        fields[3] == "0003" and (fields[4] != "0" or fields[2] == "2") for fields in map(str.split, lines)
    )


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def noise(seed: int, length: int) -> bytes:
    return random.Random(seed).randbytes(length)


def drops_of(ended: Ended) -> int:
    (words,) = re.findall(r"plg: ([\d,]+) packets? dropped by the kernel", ended.stderr)
    return int(words.replace(",", ""))


def test_a_capture_has_what_was_said_until_the_signal(place: Place, wire: Wire) -> None:
    said = []
    with capturing(place, wire.there, "-i", "wire", "--filter", "tcp", "--name", f"{THERE}=db") as capture:
        for number in range(3):
            up, down = noise(number, 700_000), noise(number + 10, 300_000)
            said.append(Stream(wire.say(7000 + number, up, down), (THERE, 7000 + number), up, down))
        ended = capture.stop()
    assert ended.status == 0 and drops_of(ended) == 0, ended
    assert_same(check_dump(place, connections=3), said)
    with open_dump(place.dump) as dump:
        assert dump.processes[0].name == "db"


def test_a_capture_of_ipv6(place: Place, wire: Wire) -> None:
    up, down = noise(1, 700_000), noise(2, 300_000)
    with capturing(place, wire.there, "-i", "wire", "--filter", "ip6 and tcp") as capture:
        client = wire.say(7000, up, down, THERE6)
        ended = capture.stop()
    assert ended.status == 0 and drops_of(ended) == 0, ended
    seen = ask_tshark(place.dump, 1)
    assert not seen.complaints
    said = [Stream(client, (THERE6, 7000), up, down)]
    assert_same(seen.streams, said)
    assert_same(read_streams(place.dump), said)
    assert_whole(place, place.dump)


def test_the_loopback_interface(place: Place, wire: Wire) -> None:
    up, down = noise(1, 2 * MIB), noise(2, MIB)
    with capturing(place, wire.here, "-i", "lo") as capture:
        with wire.here.listen("127.0.0.1", 80) as listener, wire.here.connect("127.0.0.1", 80) as client:
            server, _ = listener.accept()
            speak(client, up, server)
            speak(server, down, client)
            server.close()
            end = client.getsockname()
        ended = capture.stop()
    assert ended.status == 0 and drops_of(ended) == 0, ended
    assert_same(check_dump(place, connections=1), [Stream(end, ("127.0.0.1", 80), up, down)])


def test_it_counts_the_packets_that_tcpdump_counts(place: Place, wire: Wire) -> None:
    (tcpdump,) = needs_program("tcpdump")
    capture_file = place.path / "by-tcpdump.pcap"
    with wire.there.entered():
        words = [tcpdump, "-i", "wire", "-U", "-B", "32768", "-w", str(capture_file), "-Z", "root", "tcp"]
        witness = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: hearers(wire.there) > 0 and capture_file.exists())
    with capturing(place, wire.there, "-i", "wire", "--filter", "tcp") as capture:
        wait_until(lambda: hearers(wire.there) == 2)
        for number in range(5):
            wire.say(7000 + number, noise(number, 1000), noise(number, 500_000))
        ended = capture.stop()
    # It forgets what the kernel has not handed over yet when it is ended.
    wait_until(lambda: capture_file.stat().st_size > 5 * 501_000)
    witness.send_signal(signal.SIGINT)
    _, said = witness.communicate(timeout=DEADLINE_S)
    (seen,) = re.findall(r"(\d+) packets received by filter", said)
    assert ended.stderr.startswith(f"plg: {int(seen):,} packets, {int(seen):,} segments of TCP"), (
        ended,
        said,
    )
    imported = place.path / "imported.traffic"
    assert run(place, plg("import", str(capture_file), "-f", str(imported))).status == 0
    assert_same(read_streams(place.dump), read_streams(imported))


def test_all_interfaces_at_once_and_the_loopback_once(place: Place, wire: Wire) -> None:
    """As tcpdump counts them: of what goes out to the loopback it hears only that it comes in."""
    (tcpdump,) = needs_program("tcpdump")
    up, down = noise(1, 300_000), noise(2, 200_000)
    capture_file = place.path / "by-tcpdump.pcap"
    with wire.here.entered():
        words = [
            tcpdump,
            "-i",
            "any",
            "-U",
            "-B",
            "32768",
            "-w",
            str(capture_file),
            "-Z",
            "root",
            "tcp or udp",
        ]
        witness = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: hearers(wire.here) > 0 and capture_file.exists())
    with capturing(place, wire.here, "-i", "any", "--filter", "tcp or udp") as capture:
        wait_until(lambda: hearers(wire.here) == 2)
        said = [Stream(wire.say(7000, up, down), (THERE, 7000), up, down)]
        with wire.here.listen("127.0.0.1", 80) as listener, wire.here.connect("127.0.0.1", 80) as client:
            server, _ = listener.accept()
            with server:
                speak(client, up, server)
                speak(server, down, client)
            said.append(Stream(client.getsockname(), ("127.0.0.1", 80), up, down))
        with (
            wire.here.datagrams("127.0.0.1", 5000) as hearer,
            wire.here.datagrams("127.0.0.1", 5001) as speaker,
        ):
            for number in range(20):
                speaker.sendto(b"%d" % number, hearer.getsockname())
                assert hearer.recv(99) == b"%d" % number
        ended = capture.stop()
    wait_until(lambda: capture_file.stat().st_size > 1_000_000)
    witness.send_signal(signal.SIGINT)
    _, words_said = witness.communicate(timeout=DEADLINE_S)
    (seen,) = re.findall(r"(\d+) packets captured", words_said)
    assert ended.status == 0 and drops_of(ended) == 0, ended
    assert ended.stderr.startswith(f"plg: {int(seen):,} packets"), (ended, words_said)
    assert_same(read_streams(place.dump), said)
    with open_dump(place.dump) as dump:
        assert [dump.payload(each) for each in dump.datagrams()] == [b"%d" % number for number in range(20)]
        assert not missing_of(dump)


# -- too slow ------------------------------------------------------------------------------------------


def assert_no_stream_is_wrong(place: Place, said: Sequence[Stream]) -> int:
    """What is told was said, in this order, and the rest is counted as missing; give how much that is."""
    with open_dump(place.dump) as dump:
        lacking = missing_of(dump)
        headless = {fact.connection for fact in dump.facts() if fact.kind == "start-missing"}
        for connection in dump.connections:
            client = (str(connection.client.address), connection.client.port)
            (whole,) = (each for each in said if each.client == client)
            for side, name, way in ((CLIENT, "client", whole.sent), (SERVER, "server", whole.received)):
                told, begin, end = trace(way, dump, connection.id, side)
                missing = lacking.get((connection.id, name), 0)
                what = f"connection {connection.id}, {name}: {told} of {len(way)} told, {missing} missing"
                # Where the start was dropped, a stream begins anywhere; where the end was, it stays open.
                assert end - begin <= told + missing, what
                assert begin == 0 or connection.id in headless or missing, what
                if connection.ending is Ending.CLOSED and connection.id not in headless:
                    assert told + missing == len(way), what
    return sum(lacking.values())


def missing_of(dump: Dump) -> dict[tuple[int, str], int]:
    """Give how much each side of a connection has said that the dump lacks."""
    lacking: dict[tuple[int, str], int] = {}
    for fact in dump.facts():
        if fact.kind == "bytes-missing":
            assert fact.connection is not None
            key = fact.connection, str(fact.fields["side"])
            lacking[key] = lacking.get(key, 0) + int(str(fact.fields["bytes"]))
    return lacking


def trace(whole: bytes, dump: Dump, connection: int, side: int) -> tuple[int, int, int]:
    """Give how much a side is told to have said, and between which places in what it said that lies."""
    told, begin, end = 0, 0, 0
    for who, payload in chunks_of(dump, connection):
        if who == side:
            at = whole.find(payload, end)
            assert at >= 0, f"connection {connection} never said this after byte {end}"
            begin, end = (begin if told else at), at + len(payload)
            told += len(payload)
    return told, begin, end


def say_much(wire: Wire, connections: int, length: int) -> list[Stream]:
    said = []
    for number in range(connections):
        up, down = noise(number, length), noise(-number - 1, 1000)
        said.append(Stream(wire.say(7000 + number, up, down), (THERE, 7000 + number), up, down))
    return said


def test_what_passes_while_plg_is_stopped_is_counted_and_no_stream_is_wrong(place: Place, wire: Wire) -> None:
    options = ("-i", "wire", "--filter", "tcp", "--ring", "1M")
    with capturing(place, wire.there, *options) as capture:
        with wire.there.listen(THERE, 8000) as listener, wire.here.connect(THERE, 8000) as client:
            server, _ = listener.accept()
            first, second, third = noise(1, 100_000), noise(2, 8 * MIB), noise(3, 100_000)
            end = client.getsockname()
            pass_on(client, first, server)
            wait_until(lambda: place.dump.stat().st_size > len(first))
            capture.process.send_signal(signal.SIGSTOP)
            pass_on(client, second, server)
            capture.process.send_signal(signal.SIGCONT)
            wait_until(lambda: place.dump.stat().st_size > len(first) + MIB // 4)
            pass_on(client, third, server)
            client.close()
            assert not server.recv(1)
            server.close()
        ended = capture.stop()
    assert ended.status == 0, ended
    dropped = drops_of(ended)
    assert dropped > 0
    said = Stream(end, (THERE, 8000), first + second + third, b"")
    missing = assert_no_stream_is_wrong(place, [said])
    assert 0 < missing < len(second)
    assert f"incomplete: 1 connection, {missing:,} bytes were not captured" in ended.stderr
    assert_whole(place, place.dump)
    taken, let_through = packets_of(ended)
    assert taken + dropped == let_through
    with open_dump(place.dump) as dump:
        facts = [fact.fields["packets"] for fact in dump.facts() if fact.kind == "packets-dropped"]
    assert sum(int(str(each)) for each in facts) == dropped


def packets_of(ended: Ended) -> tuple[int, int]:
    """Give how many packets were taken, and how many the filter had let through."""
    (taken,) = re.findall(r"plg: ([\d,]+) packets?, ", ended.stderr)
    (through,) = re.findall(r"dropped by the kernel of ([\d,]+)", ended.stderr)
    return int(taken.replace(",", "")), int(through.replace(",", ""))


def pass_on(speaker: socket.socket, data: bytes, hearer: socket.socket) -> None:
    thread = threading.Thread(target=speaker.sendall, args=(data,))
    thread.start()
    heard = 0
    while heard < len(data):
        heard += len(hearer.recv(MIB))
    thread.join()


SLOW_DISK = """
import os, sys, time
def slowed(call):
    def write(*words):
        time.sleep(0.02)
        return call(*words)
    return write
os.write, os.writev = slowed(os.write), slowed(os.writev)
from netplayground.__main__ import main
sys.exit(main())
"""


def test_a_slow_disk_makes_drops_that_are_counted_and_no_wrong_stream(place: Place, wire: Wire) -> None:
    slow = [sys.executable, "-c", SLOW_DISK]
    with capturing(
        place, wire.there, "-i", "wire", "--filter", "tcp", "--ring", "1M", before=slow
    ) as capture:
        said = say_much(wire, 6, 6 * MIB)
        ended = capture.stop(60)
    assert ended.status == 0, ended
    taken, let_through = packets_of(ended)
    assert drops_of(ended) > 0 and taken + drops_of(ended) == let_through
    assert_no_stream_is_wrong(place, said)
    assert_whole(place, place.dump)


# -- how it ends ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "line"), [(("set", "wire", "down"), "wire went down"), (("delete", "wire"), "wire is gone")]
)
def test_an_interface_that_goes_ends_it_with_one_line(
    place: Place, wire: Wire, words: tuple[str, ...], line: str
) -> None:
    up, down = noise(1, 50_000), noise(2, 50_000)
    with capturing(place, wire.there, "-i", "wire", "--filter", "tcp") as capture:
        client = wire.say(7000, up, down)
        wire.there.ip("link", *words)
        ended = capture.wait(DEADLINE_S)
    assert ended.status == 125
    assert ended.last_line == f"plg: {line}: the capture ends here"
    assert_same(check_dump(place, connections=1), [Stream(client, (THERE, 7000), up, down)])


def test_it_ends_after_a_number_of_packets(place: Place, wire: Wire) -> None:
    with capturing(place, wire.there, "-i", "wire", "--count", "7") as capture:
        with wire.here.datagrams(HERE) as speaker:
            for number in range(20):
                speaker.sendto(b"%d" % number, (THERE, 9))
        ended = capture.wait(DEADLINE_S)
    assert ended.status == 0 and ended.stderr.startswith("plg: 7 packets, "), ended
    assert_whole(place, place.dump)


def test_it_ends_after_a_time(place: Place, wire: Wire) -> None:
    with capturing(place, wire.there, "-i", "wire", "--timeout", "0.2") as capture:
        assert capture.wait(DEADLINE_S).status == 0
    assert_whole(place, place.dump)


def test_sigterm_ends_it_as_well(place: Place, wire: Wire) -> None:
    with capturing(place, wire.there, "-i", "wire") as capture:
        capture.process.terminate()
        assert capture.wait(DEADLINE_S).status == 0
    assert_whole(place, place.dump)


def test_killed_it_leaves_what_it_had_said_so_far(place: Place, wire: Wire) -> None:
    with capturing(place, wire.there, "-i", "wire", "--filter", "tcp") as capture:
        wire.say(7000, noise(1, 100_000), b"")
        wait_until(lambda: place.dump.stat().st_size > 100_000)
        capture.process.kill()
        capture.process.wait()
    (stream,) = read_streams(place.dump)
    assert stream.sent == noise(1, 100_000)


@pytest.mark.parametrize("at_once", [False, True])
def test_a_full_disk_ends_it_with_one_line_and_what_is_written_can_be_read(
    place: Place, wire: Wire, at_once: bool
) -> None:
    (prlimit,) = needs_program("prlimit")
    limited = [prlimit, f"--fsize={MIB}", "--", *plg()]
    with capturing(place, wire.there, "-i", "wire", "--filter", "tcp", before=limited) as capture:
        if at_once:  # a busy machine's plg hears late, and all of it in one batch
            capture.process.send_signal(signal.SIGSTOP)
        said = say_much(wire, 2, MIB)
        capture.process.send_signal(signal.SIGCONT)
        ended = capture.wait(DEADLINE_S)
    assert (ended.status, ended.stderr) == (125, f"plg: cannot write {place.dump}: File too large\n")
    first, *_ = read_streams(place.dump)
    assert said[0].sent.startswith(first.sent) and len(first.sent) > MIB // 2


def test_one_who_may_not_capture_is_told_so_and_nothing_is_touched(place: Place) -> None:
    needs_root()
    words = as_nobody(place)
    place.dump.write_bytes(b"was here")
    place.dump.chmod(0o666)
    ended = run(place, [*words, *plg("capture", "-i", "lo", "-f", str(place.dump))])
    cause = "the right to do so is missing (CAP_NET_RAW); run plg as root"
    assert (ended.status, ended.stderr) == (125, f"plg: cannot capture on lo: {cause}\n")
    assert place.dump.read_bytes() == b"was here"


def test_a_terminal_sees_how_far_it_has_come(place: Place, wire: Wire) -> None:
    leader, follower = os.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, b"\x18\0\x78\0\0\0\0\0")
    with wire.there.entered():
        capture = subprocess.Popen(
            plg("capture", "-i", "wire", "-f", str(place.dump), "--filter", "udp"),
            stderr=follower,
            env={**place.environment(), "TERM": "xterm"},
        )
    wait_until(lambda: has_begun(place, wire.there))
    with wire.here.datagrams(HERE) as speaker, wire.there.datagrams(THERE) as hearer:
        speaker.sendto(b"one", hearer.getsockname())
        hearer.recv(100)
    shown = ""
    while "1 packet · 0 dropped · 0 connections" not in shown:
        shown += os.read(leader, 10_000).decode(errors="replace")
    capture.send_signal(signal.SIGINT)
    assert capture.wait(DEADLINE_S) == 0
    os.close(follower)
    os.close(leader)
