"""plg killed at any moment leaves nothing; its namespaces last as long as it holds them."""

from __future__ import annotations

import os
import random
import select
import time

import pytest
from sandbox_stage import await_nothing_left, marked_processes, play, start_play

from needs import needs_root, needs_tun

ATTEMPTS = 25


@pytest.fixture(params=["root", "user"])
def by_root(request: pytest.FixtureRequest) -> bool:
    needs_root()
    needs_tun()
    return bool(request.param == "root")


def test_sigkill_at_random_moments_leaves_nothing(by_root: bool) -> None:
    stubborn = "trap '' TERM HUP INT; (setsid sh -c 'trap \"\" TERM; sleep 77' &); sleep 77; sleep 77"
    chance = random.Random(7)
    for _ in range(ATTEMPTS):
        play = start_play(*[stubborn] * 5, by_root=by_root)
        # From before the first fork to well after every command runs.
        time.sleep(chance.uniform(0.02, 0.35))
        play.stage.kill()
        play.stage.communicate()
        os.close(play.report)
        await_nothing_left(play.mark)


def test_sigkill_amid_the_build_of_many_leaves_nothing(by_root: bool) -> None:
    chance = random.Random(11)
    seen = 0
    for _ in range(5):
        play = start_play(*["sleep 77"] * 60, by_root=by_root)
        while len(marked_processes(play.mark)) < chance.randint(2, 40):
            assert play.stage.poll() is None
        seen = max(seen, len(marked_processes(play.mark)))
        play.stage.kill()
        play.stage.communicate()
        os.close(play.report)
        await_nothing_left(play.mark)
    assert seen > 2


def test_sigterm_to_plg_alone_ends_everything(by_root: bool) -> None:
    play = start_play("sleep 77", "sleep 77", by_root=by_root)
    deadline = time.monotonic() + 10
    while list(marked_processes(play.mark).values()).count("sleep 77 ") < 2:
        assert time.monotonic() < deadline
    play.stage.terminate()
    play.stage.communicate()
    os.close(play.report)
    await_nothing_left(play.mark)


def test_a_hundred_processes_end_soon(by_root: bool) -> None:
    played = play(*["sleep 0.01"] * 100, by_root=by_root)
    assert played.facts["close_s"] < 2


def test_a_dead_process_still_answers() -> None:
    """The namespace outlives its processes until plg closes it: its kernel says RST to callers."""
    needs_root()
    needs_tun()
    pid = os.fork()
    if pid == 0:
        os._exit(_connect_to_the_dead())
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _connect_to_the_dead() -> int:
    from ipaddress import IPv4Interface

    from netplayground.packet import checksum
    from netplayground.sandbox.playground import Sandbox
    from netplayground.sandbox.process import Gone, ProcessSpec
    from netplayground.sandbox.proxy import enter_proxy_namespace

    sandbox = Sandbox([ProcessSpec("p1", 1, "true", IPv4Interface("10.0.0.1/24"))], enter_proxy_namespace())
    sandbox.build()
    try:
        (process,) = sandbox.processes
        process.start()
        while Gone() not in process.read_messages():
            select.select([process.control], [], [], 5)
        syn = _syn(checksum.internet_checksum)
        os.write(process.tun_fd, bytes(10) + syn)
        while select.select([process.tun_fd], [], [], 5)[0]:
            packet = os.read(process.tun_fd, 65536)[10:]
            if packet[9] == 6:
                return 0 if packet[20 + 13] & 0x04 else 2
        return 3
    finally:
        sandbox.close()


def _syn(internet_checksum: object) -> bytes:
    """A SYN from 10.0.0.2:1000 to 10.0.0.1:80."""
    import struct

    assert callable(internet_checksum)
    tcp = struct.pack(">HHIIBBHHH", 1000, 80, 1, 0, 5 << 4, 2, 1024, 0, 0)
    addresses = bytes([10, 0, 0, 2, 10, 0, 0, 1])
    tcp_sum = internet_checksum(addresses + struct.pack(">HH", 6, len(tcp)) + tcp)
    tcp = tcp[:16] + struct.pack(">H", tcp_sum) + tcp[18:]
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 1, 0, 64, 6, 0) + addresses
    return ip[:10] + struct.pack(">H", internet_checksum(ip)) + ip[12:] + tcp
