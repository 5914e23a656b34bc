"""`plg import` of large captures against tcpflow -r and tshark -q -z conv,tcp: of bulk, and of small packets.

Both captures are made here, so that they are the same everywhere: bulk is of eight connections in bursts,
with an acknowledgement for every second packet; the small packets are of many short conversations at a time.
"""

from __future__ import annotations

import os
import random
import select
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from bench_parts.stage import Failed, warm
from bench_parts.ways import plg, plg_environment

_DEADLINE_S = 600.0
_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)
_ETHERNET = bytes(12) + b"\x08\0"
_FRAME = struct.Struct("<IIII14s").pack
_IP = struct.Struct(">BBHIBBHII").pack
_TCP = struct.Struct(">HHIIBBHI").pack
_ACK, _PSH, _SYN, _FIN = 0x10, 0x18, 0x02, 0x11
_SEGMENT = 1448
_AT_A_TIME = 1000
_PACKETS_EACH = 100
_LOOK_S = 0.05


def measure_import(place: Path, mib: int) -> dict[str, float]:
    """Seconds for so many MiB of bulk, and for 2,000 small packets a MiB; how many times the others take."""
    missing = [name for name in ("tcpflow", "tshark") if shutil.which(name) is None]
    if missing:
        raise Failed(f"cannot measure imports: not installed: {', '.join(missing)}")
    figures: dict[str, float] = {}
    most = 0.0
    for name, packets in (("bulk", _bulk(mib << 20)), ("small", _small(mib * 2000))):
        capture = place / f"{name}.pcap"
        with capture.open("wb") as file:
            file.write(_HEADER)
            file.writelines(packets)
        warm(place, capture.stat().st_size)
        took, memory = _import(capture, place)
        figures[f"import_{name}_s"] = took
        figures[f"import_{name}_tcpflow"] = _tcpflow(capture, place) / took
        figures[f"import_{name}_tshark"] = _run("tshark", "-q", "-z", "conv,tcp", "-r", str(capture)) / took
        most = max(most, memory)
        capture.unlink()
    return {**figures, "import_rss_mib": most}


def _import(capture: Path, place: Path) -> tuple[float, float]:
    """Give seconds and MiB of resident memory, of plg and of the process with which it reads ahead together:
    what they share is counted twice."""
    dump = place / "bench.traffic"
    begin = time.monotonic()
    with subprocess.Popen(
        [*plg("import", str(capture), "-f", str(dump))],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=plg_environment(),
    ) as process:
        assert process.stderr is not None
        ahead = 0.0
        while not select.select([process.stderr], [], [], _LOOK_S)[0]:
            ahead = max(ahead, _memory_of_children(process.pid))
        said = process.stderr.read()
        memory = _peak_memory(process) + ahead
    took = time.monotonic() - begin
    if process.returncode != 0:
        raise Failed(said.decode(errors="replace")[-2000:])
    dump.unlink()
    return took, memory


def _memory_of_children(pid: int) -> float:
    """Give the highest resident memory so far of a process's children, in MiB."""
    most = 0.0
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(OSError):  # it has ended
            lines = Path(f"/proc/{child}/status").read_text().splitlines()
            most += sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
    return most


def _peak_memory(process: subprocess.Popen[bytes]) -> float:
    """Give a child's highest resident memory in MiB, and reap it."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_maxrss / 1024


def _tcpflow(capture: Path, place: Path) -> float:
    folder = place / "flows"
    folder.mkdir()
    warm(place, capture.stat().st_size)
    took = _run("tcpflow", "-r", str(capture), "-o", str(folder), "-X", "/dev/null")
    shutil.rmtree(folder)
    return took


def _run(*words: str) -> float:
    begin = time.monotonic()
    done = subprocess.run(words, capture_output=True, timeout=_DEADLINE_S, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise Failed(f"{words[0]}: {done.stderr.decode(errors='replace')[-2000:]}")
    return time.monotonic() - begin


class _Talk:
    """Two hosts, and where their sequence numbers are."""

    def __init__(self, number: int, chance: random.Random) -> None:
        ends = (0x0A010000 + number % 250, 0x0A020001), (1024 + number % 60_000, 80)
        self._ends = ends, tuple(pair[::-1] for pair in ends)
        self._next = [chance.randrange(1 << 32), chance.randrange(1 << 32)]

    def frame(self, side: int, flags: int, micros: int, data: bytes = b"") -> bytes:
        (source, destination), ports = self._ends[side]
        length = 20 + 20 + len(data)
        numbers = self._next[side], self._next[1 - side] if flags & _ACK else 0
        self._next[side] = (self._next[side] + len(data) + bool(flags & (_SYN | 1))) & 0xFFFFFFFF
        head = _FRAME(micros // 1_000_000, micros % 1_000_000, 14 + length, 14 + length, _ETHERNET)
        network = _IP(0x45, 0, length, 0x4000, 64, 6, 0, source, destination)
        return head + network + _TCP(*ports, *numbers, 0x50, flags, 0xFFFF, 0) + data

    def open(self, micros: int) -> list[bytes]:
        return [self.frame(side, flags, micros) for side, flags in ((0, _SYN), (1, _SYN | _ACK), (0, _ACK))]


def _bulk(octets: int) -> Iterator[bytes]:
    chance = random.Random(1)
    talks = [_Talk(number, chance) for number in range(8)]
    data, micros, done = chance.randbytes(_SEGMENT), 0, 0
    for talk in talks:
        yield from talk.open(micros)
    while done < octets:
        talk = chance.choice(talks)
        for number in range(chance.randrange(2, 40)):
            micros += 11
            yield talk.frame(0, _PSH, micros, data)
            if number % 2:
                yield talk.frame(1, _ACK, micros)
            done += len(data)


def _small(packets: int) -> Iterator[bytes]:
    chance = random.Random(2)
    micros = made = 0
    talks: list[Iterator[bytes]] = []
    while made < packets // _PACKETS_EACH or talks:
        while made < packets // _PACKETS_EACH and len(talks) < _AT_A_TIME:
            talks.append(_conversation(_Talk(made, chance), chance, micros))
            made += 1
        at = chance.randrange(len(talks))
        micros += 5
        frame = next(talks[at], None)
        if frame is None:
            talks[at] = talks[-1]
            talks.pop()
        else:
            yield frame


def _conversation(talk: _Talk, chance: random.Random, micros: int) -> Iterator[bytes]:
    yield from talk.open(micros)
    for _ in range((_PACKETS_EACH - 6) // 2):
        yield talk.frame(0, _PSH, micros, b"q" * chance.randrange(20, 100))
        yield talk.frame(1, _PSH, micros, b"a" * chance.randrange(20, 200))
    yield talk.frame(0, _FIN, micros)
    yield talk.frame(1, _FIN, micros)
    yield talk.frame(0, _ACK, micros)
