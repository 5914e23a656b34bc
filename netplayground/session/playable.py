"""What a replay can play: a dump of either program, or a capture, which becomes a dump first."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from netplayground.dump import blocks
from netplayground.dump.recording import Recording, open_recording
from netplayground.errors import CaptureError, DumpError, NotADumpError, PlaygroundError
from netplayground.sandbox.fork import fork

_NO_CAPTURE = 1


@contextmanager
def open_playable(
    path: Path, names: Sequence[str], narrate: Callable[[str], None], *, in_child: bool = True
) -> Iterator[Recording]:
    """Open a recording; a capture is imported into a dump that is gone afterwards, and `narrate` told of it.
    `names` are ADDRESS=NAME, for a capture. NotADumpError for what is neither. `in_child`: the import is a
    fork's, for NumPy makes threads, and who goes into a namespace must have none."""
    try:
        recording = open_recording(path)
    except NotADumpError as error:
        if not (path.is_file() and path.stat().st_size) or _was_dump(path):
            raise
        with _file_without_name() as dump:
            try:
                words = (_import_in_child if in_child else _import)(path, dump, names)
            except CaptureError as damage:
                if blocks.begins_capture(_head(path)):
                    raise NotADumpError(str(damage)) from damage
                raise NotADumpError(f"{error}, nor is it a capture") from error
            narrate(f"{path} is a capture of {words}")
            with open_recording(dump) as imported:
                yield imported
        return
    with recording:
        yield recording


def _was_dump(path: Path) -> bool:
    """Whether it is the beginning of a dump, which could be taken for that of an empty capture."""
    return blocks.begins_dump(_head(path))


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(blocks.SECTION_LENGTH)


@contextmanager
def _file_without_name() -> Iterator[Path]:
    """A file that is gone when plg is, however it ends (O_TMPFILE, open(2)), by a path for as long."""
    try:
        fd = os.open(tempfile.gettempdir(), os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DumpError(f"cannot import the capture: {error.strerror} in {tempfile.gettempdir()}") from error
    try:
        yield Path(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def _import(path: Path, dump: Path, names: Sequence[str]) -> str:
    """Import a capture; in words, what was in it. CaptureError where it is none."""
    from netplayground.capture.hosts import parse_names
    from netplayground.capture.importing import ImportOptions, import_captures

    imported = import_captures(ImportOptions((path,), dump, parse_names(names)))
    return f"{imported.packets:,} packet{'s' if imported.packets != 1 else ''}"


def _import_in_child(path: Path, dump: Path, names: Sequence[str]) -> str:
    here, there = os.pipe()
    child = fork(lambda: _import_as_child(path, dump, names, there))
    os.close(there)
    try:
        with open(here, encoding="utf-8") as said:
            words = said.read()
    except BaseException:
        # Interrupted: nobody needs the dump any more.
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == _NO_CAPTURE:
        raise CaptureError(words)
    if status:
        raise DumpError(words or f"cannot import {path}: the import ended with status {status}")
    return words


def _import_as_child(path: Path, dump: Path, names: Sequence[str], channel: int) -> int:
    """What the child does: its exit status, and words for the parent."""
    with open(channel, "w", encoding="utf-8") as parent:
        try:
            words, status = _import(path, dump, names), 0
        except CaptureError as error:
            words, status = str(error), _NO_CAPTURE
        except PlaygroundError as error:
            words, status = str(error), error.exit_status
        except Exception as error:  # the parent says it: what this child is part of must not go on twice
            words = f"cannot import {path}: {type(error).__name__}: {error}"
            status = PlaygroundError.exit_status
        parent.write(words)
    return status
