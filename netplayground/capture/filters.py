"""Filters in tcpdump's language, compiled to the kernel's classic BPF by libpcap, which defines it.

libpcap is asked for only here, through ctypes, and only when there is a filter: tcpdump brings it along. For
an interface with link headers the filter is compiled on a handle of that very interface. Only so does libpcap
know that the kernel takes VLAN tags out of the frame, and where it keeps them (SKF_AD_VLAN_TAG).
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from netplayground.errors import CaptureError, UsageError

INSTRUCTION = struct.Struct("=HBBI")
"""struct sock_filter of linux/filter.h."""
DROP_ALL = INSTRUCTION.pack(6, 0, 0, 0)
KEEP_ALL = INSTRUCTION.pack(6, 0, 0, 0xFFFFFFFF)
_LOAD, _JUMP_IF_EQUAL = 0x20, 0x15
_HARDWARE, _DIRECTION = 0xFFFFF000 + 28, 0xFFFFF000 + 4
"""What the kernel knows of a packet: SKF_AD_HATYPE, SKF_AD_PKTTYPE."""
_LOOPBACK, _OUTGOING = 772, 4
NO_ECHO = b"".join(
    INSTRUCTION.pack(*each)
    for each in (
        (_LOAD, 0, 0, _HARDWARE),
        (_JUMP_IF_EQUAL, 0, 3, _LOOPBACK),
        (_LOAD, 0, 0, _DIRECTION),
        (_JUMP_IF_EQUAL, 0, 1, _OUTGOING),
        (6, 0, 0, 0),
    )
)
"""Before another program: drops what goes out to the loopback, which comes in there, too."""

_NAMES = ("libpcap.so.1", "libpcap.so.0.8")
"""As its authors call it, and as Debian does."""
_DLT_RAW = 12
_RETURN = 6
_ALL = 0xFFFFFFFF
_SNAP = 1 << 18
_BUFFER = 1 << 16
_NETMASK_UNKNOWN = 0xFFFFFFFF


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint), ("instructions", ctypes.c_void_p))


def compile_filter(expression: str, interface: str | None) -> bytes:
    """Give the instructions of a filter for frames of an interface, or for bare IP packets (None)."""
    library = _load()
    opened = _open_bare(library) if interface is None else _open_live(library, interface)
    with opened as handle:
        program = _Program()
        if library.pcap_compile(handle, ctypes.byref(program), expression.encode(), 1, _NETMASK_UNKNOWN):
            cause = library.pcap_geterr(handle).decode(errors="replace")
            raise UsageError(f"cannot understand the filter {expression!r}: {cause}")
        try:
            code = ctypes.string_at(program.instructions, program.length * INSTRUCTION.size)
        finally:
            library.pcap_freecode(ctypes.byref(program))
    return _keep_whole(code)


def _keep_whole(code: bytes) -> bytes:
    """Let what a filter lets through through as a whole.

    What a filter returns is how much of the packet is kept, and libpcap knows of no packet beyond 256 KiB;
    segmentation offload makes longer ones (BIG TCP).
    """
    return b"".join(
        INSTRUCTION.pack(operation, jt, jf, _ALL if operation == _RETURN and k else k)
        for operation, jt, jf, k in INSTRUCTION.iter_unpack(code)
    )


def _load() -> Any:
    for name in _NAMES:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        break
    else:
        raise CaptureError(
            "cannot compile a filter: libpcap is not installed (tcpdump brings it along; Debian: apt install "
            "libpcap0.8)"
        )
    for function in (library.pcap_create, library.pcap_open_dead):
        function.restype = ctypes.c_void_p
    library.pcap_create.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
    library.pcap_open_dead.argtypes = [ctypes.c_int, ctypes.c_int]
    library.pcap_geterr.restype = ctypes.c_char_p
    for function in (library.pcap_geterr, library.pcap_close, library.pcap_activate):
        function.argtypes = [ctypes.c_void_p]
    library.pcap_set_buffer_size.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.pcap_compile.argtypes = [
        *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint32)
    ]
    library.pcap_freecode.argtypes = [ctypes.c_void_p]
    return library


@contextmanager
def _open_bare(library: Any) -> Iterator[int]:
    handle = library.pcap_open_dead(_DLT_RAW, _SNAP)
    try:
        yield handle
    finally:
        library.pcap_close(handle)


@contextmanager
def _open_live(library: Any, interface: str) -> Iterator[int]:
    error = ctypes.create_string_buffer(512)
    handle = library.pcap_create(interface.encode(), error)
    if not handle:
        raise CaptureError(f"cannot compile a filter for {interface}: {error.value.decode(errors='replace')}")
    try:
        library.pcap_set_buffer_size(handle, _BUFFER)
        # Below 0 are errors, above it warnings.
        if library.pcap_activate(handle) < 0:
            cause = library.pcap_geterr(handle).decode(errors="replace")
            raise CaptureError(f"cannot compile a filter for {interface}: {cause}")
        yield handle
    finally:
        library.pcap_close(handle)
