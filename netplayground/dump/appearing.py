"""Files that appear whole or not at all: the one way in which plg writes what is not a recording in progress.

A file is written without a name (O_TMPFILE, open(2)), in the folder where it is to be, and gets its name
when all of it is there: whatever ends plg before that, SIGKILL too, leaves nothing, and a file of that name
stays as it was. Only where the file system cannot do that, the file has a hidden name beside until then.

A path that stands for a descriptor or a device (/dev/stdout, /dev/fd/3, a FIFO) is written to, not replaced.
"""

from __future__ import annotations

import errno
import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from netplayground.errors import PlaygroundError, UsageError

PRIVATE = 0o600
"""The mode of what holds what was said."""
OPEN = 0o666
"""Of all else, less the umask."""

_WITHOUT_NAME = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
_NAMED = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC
_STREAM = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
_NOT_THERE = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)
"""What open(2) says where O_TMPFILE is not known: of the file system, of an old kernel."""


@contextmanager
def appearing(path: Path, mode: int = PRIVATE) -> Iterator[BinaryIO]:
    """An empty file that is at `path` when the block has ended well. PlaygroundError where it cannot be
    written, which an OSError in the block becomes, too."""
    try:
        with _stream(path) if is_stream(path) else _file(Path(os.path.realpath(path)), mode) as file:
            yield file
    except OSError as error:
        raise PlaygroundError(f"cannot write {path}: {error.strerror or error}") from error


def check_distinct(output: Path, *sources: Path) -> None:
    """Raise UsageError if what is to be written is what is read."""
    for source in sources:
        if output.exists() and not is_stream(output) and source.exists() and output.samefile(source):
            raise UsageError(f"cannot write {output}: it is what is read")


def is_stream(path: Path) -> bool:
    """Whether what has this path is not a file that another may take the place of."""
    is_device = path.is_relative_to("/dev") and not path.is_relative_to("/dev/shm")
    if is_device or path.is_relative_to("/proc"):
        return True
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        return False


@contextmanager
def _stream(path: Path) -> Iterator[BinaryIO]:
    with open(os.open(path, _STREAM), "wb") as file:
        yield file


@contextmanager
def _file(path: Path, mode: int) -> Iterator[BinaryIO]:
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd, beside = _create(folder, mode)
        with open(fd, "w+b") as file:
            try:
                yield file
                file.flush()
                beside = beside or _link(fd, folder, path.name)
                if beside:
                    os.replace(beside, path.name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                if beside:
                    os.unlink(beside, dir_fd=folder)
                raise
    finally:
        os.close(folder)


def _create(folder: int, mode: int) -> tuple[int, str]:
    """An empty file in a folder, and its name, if it must have one."""
    if os.path.isdir("/proc/self/fd"):  # through which it will get its name
        try:
            return os.open(".", _WITHOUT_NAME, mode, dir_fd=folder), ""
        except OSError as error:
            if error.errno not in _NOT_THERE:
                raise
    name = _hidden()
    return os.open(name, _NAMED, mode, dir_fd=folder), name


def _link(fd: int, folder: int, name: str) -> str:
    """Give a file its name; where another file has it, give it a hidden one, and say which."""
    nameless = f"/proc/self/fd/{fd}"
    try:
        os.link(nameless, name, dst_dir_fd=folder, follow_symlinks=True)
        return ""
    except FileExistsError:
        beside = _hidden()
        os.link(nameless, beside, dst_dir_fd=folder, follow_symlinks=True)
        return beside


def _hidden() -> str:
    return f".plg-{uuid.uuid4().hex}"
