"""What lies in many places in memory written by one call: writev(2) on iovecs that somebody has made.

`os.writev` wants an object of Python's for each place; where there are a thousand, making them costs more
than the call.
"""

from __future__ import annotations

import ctypes
import errno
import os

_writev = ctypes.CDLL(None, use_errno=True).writev
_writev.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
_writev.restype = ctypes.c_ssize_t


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def write(fd: int, address: int, count: int) -> int:
    """Write what `count` iovecs from `address` on name; give how many octets of it were written, or raise
    OSError."""
    while (written := int(_writev(fd, address, count))) < 0:
        error = ctypes.get_errno()
        if error != errno.EINTR:
            raise OSError(error, os.strerror(error))
    return written


def join(address: int, count: int) -> bytes:
    """Give what `count` iovecs from `address` on name."""
    vectors = (_Vector * count).from_address(address)
    return b"".join(ctypes.string_at(each.base, each.length) for each in vectors if each.length)
