"""The pcapng blocks of a dump (draft-ietf-opsawg-pcapng), as octets.

One big-endian section, so that a block's header and the network headers inside it are packed by one call.
Order of a dump:

    section header      its comment says format, state and plg version, at a fixed width: the state is
                        rewritten in place
    interface           one, LINKTYPE_RAW, snap length 0, nanoseconds
    name resolution     the processes' names
    custom "run"        the run header; these four are written by one call
    packets, customs    in the order of the run; pages of the index stand between them
    footer              after an orderly end only (see `index`)

Custom blocks have enterprise number 32473 (RFC 5612) and begin with four octets that say what they are. A
packet whose sender its address does not tell has a custom option with the sender's position (0: nobody's); so
has every ICMP unreachable error that a process sent, which tells it from the one that ends a connection.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from ipaddress import ip_address

from netplayground.dump.model import Process, RunHeader

SECTION = 0x0A0D0D0A
INTERFACE = 1
NAMES = 4
PACKET = 6
CUSTOM = 0x0BAD

FORMAT = 1
MOST = 8 << 20
"""No block is longer; a reader believes no greater length."""
LEAST = 12
ENTERPRISE = 32473
LINKTYPE_RAW = 101

FACT = b"plg1"
EVENT_PAGE = b"plgE"
CONNECTION_PAGE = b"plgC"
SUM_PAGE = b"plgS"
DIRECTORY = b"plgD"
FOOTER = b"plgF"

STATE_OPEN = b"open    "
STATE_COMPLETE = b"complete"

PACKET_HEADER = 28
"""Octets of an enhanced packet block before the packet."""
CUSTOM_HEADER = 16
"""Octets of a custom block before what its four octets announce."""
SECTION_LENGTH = 132
INTERFACE_LENGTH = 32

_COMMENT = 1
_CUSTOM_OPTION = 2989
_CONNECTIONS = 0x7FFFFFFF
_MAGIC = 0x1A2B3C4D
_MARK = b"net playground dump, format "
_COMMENT_LENGTH = 96
_PCAPS = (b"\xa1\xb2\xc3\xd4", b"\xa1\xb2\x3c\x4d", b"\xa1\xb2\xcd\x34")
_GZIP, _ZSTD = b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"
_CAPTURES = (*_PCAPS, SECTION.to_bytes(4, "big"), _GZIP, _ZSTD)
COMMENT_AT = 28
"""Where the section header's comment begins."""
STATE_AT = COMMENT_AT + len(_MARK) + 5
_VERSION_AT = len(_MARK) + 5 + 8 + 6
WORDS = struct.Struct(">II")


def padded(data: bytes, fill: bytes = b"\0") -> bytes:
    """Fill up to whole 32-bit words."""
    return data + fill * (-len(data) % 4)


def emit_block(kind: int, body: bytes) -> bytes:
    """Give a block around `body`, which is a number of whole words."""
    length = LEAST + len(body)
    assert length % 4 == 0 and length <= MOST, length
    return WORDS.pack(kind, length) + body + length.to_bytes(4, "big")


def emit_custom_header(what: bytes, length: int) -> bytes:
    """Give the first sixteen octets of a custom block of ours."""
    return WORDS.pack(CUSTOM, length) + ENTERPRISE.to_bytes(4, "big") + what


def emit_custom(what: bytes, body: bytes) -> bytes:
    """Give a custom block of ours."""
    return emit_block(CUSTOM, ENTERPRISE.to_bytes(4, "big") + what + body)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack(">HH", code, len(value)) + padded(value)


def comment(state: bytes, version: str) -> bytes:
    """Give the section header's comment, which has the same length whatever it says."""
    text = _MARK + b"%03d, " % FORMAT + state + b", plg " + section_version(version).encode()
    return text.ljust(_COMMENT_LENGTH)


def section_version(version: str) -> str:
    """Give the plg version as the section header has room for it."""
    return version.encode("ascii", "replace")[:40].rstrip().decode("ascii")


def emit_section(state: bytes, version: str) -> bytes:
    """Give the first block of a dump."""
    body = struct.pack(">IHHq", _MAGIC, 1, 0, -1) + _option(_COMMENT, comment(state, version)) + bytes(4)
    block = emit_block(SECTION, body)
    assert len(block) == SECTION_LENGTH
    return block


def parse_section(block: bytes) -> tuple[bytes, str]:
    """Give state and plg version from a dump's first block; ValueError, with the reason, if it is not a
    dump's.

    Only what tells a dump from other files is looked at here.
    """
    if not block:
        raise ValueError("the file is empty")
    text = block[COMMENT_AT : COMMENT_AT + _COMMENT_LENGTH]
    number, state, rest = (
        text[len(_MARK) : len(_MARK) + 3],
        text[STATE_AT - COMMENT_AT :][:8],
        text[_VERSION_AT:],
    )
    if not block.startswith(SECTION.to_bytes(4, "big")):
        is_capture = begins_capture(block)
        raise ValueError("not a dump; plg import makes one of a capture" if is_capture else "not a dump")
    if len(block) < SECTION_LENGTH:
        raise ValueError(f"cut off at byte {len(block)}, nothing whole is left")
    if not text.startswith(_MARK) or not number.isdigit():
        raise ValueError("a pcapng file, but not one that plg has written; plg import makes a dump of it")
    if int(number) != FORMAT:
        raise ValueError(f"a dump of format {int(number)}, this plg reads format {FORMAT}")
    return state, rest.rstrip(b" ").decode("ascii", "replace")


def begins_capture(head: bytes) -> bool:
    """Say whether a file that begins so is a capture, or packed as captures are."""
    return head.startswith(_CAPTURES) or head[3::-1].startswith(_CAPTURES)


def begins_dump(head: bytes) -> bool:
    """Say whether a file that begins so is a dump, or was one before it was cut off."""
    return head[COMMENT_AT : COMMENT_AT + len(_MARK)] == _MARK


def emit_interface() -> bytes:
    """Give the one interface: raw IP, nothing cut, time in nanoseconds."""
    return emit_block(INTERFACE, struct.pack(">HHI", LINKTYPE_RAW, 0, 0) + _option(9, b"\x09") + bytes(4))


def emit_packet(packet: bytes, time_ns: int) -> bytes:
    """Give the enhanced packet block of one whole packet."""
    length = len(packet)
    return emit_block(PACKET, struct.pack(">IQII", 0, time_ns, length, length) + padded(packet))


def emit_sender_option(position: int) -> bytes:
    """Give the options that name a packet's sender: they follow the packet's padding."""
    return _option(_CUSTOM_OPTION, WORDS.pack(ENTERPRISE, position)) + bytes(4)


SENDER_OPTION_LENGTH = 16


def parse_sender_option(options: bytes) -> int | None:
    """Give the position of a packet's sender from what follows its padding; None if it does not tell."""
    if len(options) != SENDER_OPTION_LENGTH or options[:8] != emit_sender_option(0)[:8]:
        return None
    return int.from_bytes(options[8:12], "big")


def emit_names(processes: Iterable[Process]) -> bytes:
    """Give the name resolution block: each address of each process with its name."""
    body = b""
    for process in processes:
        for address in process.addresses:
            value = address.packed + process.name.encode() + b"\0"
            body += _option(1 if address.version == 4 else 2, value)
    return emit_block(NAMES, body + bytes(4))


def emit_fact(kind: str, time_ns: int, fields: Mapping[str, object]) -> bytes:
    """Give a custom block of JSON; blanks fill it up, which JSON allows."""
    return emit_custom(FACT, _emit_json(kind, time_ns, fields))


def _emit_json(kind: str, time_ns: int, fields: Mapping[str, object]) -> bytes:
    text = json.dumps({"kind": kind, "time": time_ns, **fields}, separators=(",", ":"))
    return padded(text.encode("ascii"), b" ")


def parse_fact(body: bytes) -> dict[str, object]:
    """Read a fact's JSON, which names its kind and its time; ValueError if it is anything else."""
    try:
        fields = json.loads(body)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(fields, dict) or not isinstance(fields.get("kind"), str):
        raise ValueError("no kind in it")
    if not _is_whole(fields.get("time"), 1 << 64):
        raise ValueError("no time in it")
    if not _is_whole(fields.get("connection", 0), _CONNECTIONS):
        raise ValueError("a connection that cannot be")
    return fields


def _is_whole(value: object, below: int) -> bool:
    return type(value) is int and 0 <= value < below


def emit_run(run: RunHeader, time_ns: int) -> bytes:
    """Give the run header; ValueError if it does not fit into a block."""
    processes = [
        {
            "name": process.name,
            "position": process.position,
            "addresses": [str(address) for address in process.addresses],
            "command": process.command,
        }
        for process in run.processes
    ]
    fields = {"subnets": list(run.subnets), "processes": processes, "options": dict(run.options)}
    text = _emit_json("run", time_ns, {**fields, "version": run.version})
    # Commands are the user's; an octet that is no UTF-8 takes six here.
    if len(text) > MOST - CUSTOM_HEADER - 4:
        raise ValueError(f"commands and options of {len(text):,} bytes are too long for a dump")
    return emit_custom(FACT, text)


def emit_opening(run: RunHeader, time_ns: int) -> bytes:
    """Give all that stands before the first packet; ValueError if it says more than there is room for."""
    return (
        emit_section(STATE_OPEN, run.version)
        + emit_interface()
        + emit_names(run.processes)
        + emit_run(run, time_ns)
    )


def parse_run(fields: Mapping[str, object]) -> RunHeader:
    """Read the run header from its fact; ValueError if something in it is not what it should be."""
    processes, subnets, options = fields.get("processes"), fields.get("subnets"), fields.get("options")
    version, started = fields.get("version"), fields.get("time")
    if not (isinstance(processes, list) and isinstance(subnets, list) and isinstance(options, dict)):
        raise ValueError("a run header without processes, subnets or options")
    if not isinstance(version, str) or not isinstance(started, int):
        raise ValueError("a run header without version or time")
    return RunHeader(
        subnets=tuple(map(str, subnets)),
        processes=tuple(map(parse_process, processes)),
        options=options,
        version=version,
        started_ns=started,
    )


def parse_process(value: object) -> Process:
    """Read a process from the run header, or from a fact of its own; ValueError if it is none."""
    if not isinstance(value, dict):
        raise ValueError("a process that is no object")
    name, position, command = value.get("name"), value.get("position"), value.get("command")
    addresses = value.get("addresses")
    if not (isinstance(name, str) and type(position) is int and isinstance(command, str)):
        raise ValueError("a process without name, position or command")
    if not isinstance(addresses, list):
        raise ValueError("a process without addresses")
    return Process(name, position, tuple(ip_address(str(address)) for address in addresses), command)
