"""Where the stdout and stderr of a run's programs go.

- One live process alone has plg's own, the terminal too.
- Those of several go through relays to plg's stdout and stderr, each line with the name of its process before
  it. Where both are one file (a terminal, 2>&1) a process has one pipe for both: the order is as it wrote.
- With --output each process has a file for both, again through one pipe, byte for byte as it wrote.

What plg itself says meanwhile goes the same way as what the processes say. Where people look on, at a
terminal, a view of the run stands below all that: its relay draws it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from netplayground.cli.footer import can_draw
from netplayground.cli.places import FilesPlace, StreamPlace
from netplayground.cli.relay import Relay
from netplayground.cli.words import tell
from netplayground.errors import LimitError, PlaygroundError, UsageError
from netplayground.sandbox.command import Streams
from netplayground.session.status import Status, Watch, emit_status

_STDOUT, _STDERR = 1, 2
_OTHERS_MAY_WRITE = 0o622  # a server that has dropped to a user of its own opens /dev/stderr anew


class Outputs:
    """The relays of one run. While it is entered programs can speak; at its end everything is written."""

    def __init__(
        self,
        names: Sequence[str],
        directory: Path | None = None,
        kept: Sequence[Path] = (),
        view: bool | None = False,
    ) -> None:
        """`names` of the live processes; `kept` are files that no output may take the place of. `view`:
        whether people look on where stderr is a terminal; None: unless a process needs that for itself."""
        self.streams: dict[str, Streams] = {}
        self.trouble: str | None = None
        self.watch: Watch | None = None
        self._relays: list[Relay] = []
        self._words: Relay | None = None
        self._ends: list[int] = []
        try:
            can_show = can_draw(_STDERR) and (_has_terminal_alone() if view is None else view)
            if directory is not None:
                self._to_files(names, directory, kept)
                if can_show:
                    self._words = self._to_own_stream(_STDERR, (), "stderr")
            elif len(names) > 1 or (view and can_show):
                self._to_own_streams(names)
            if can_show and self._words is not None:
                self.watch = self._show
        except OSError as error:
            raise LimitError(f"cannot carry what {len(names)} processes say: {error.strerror}") from error

    def __enter__(self) -> Outputs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_ends()
        relays, self._relays, self._words = self._relays, [], None
        while relays:
            try:
                self.trouble = relays[0].finish() or self.trouble
            except BaseException:
                # Who asks plg to end while a reader has stopped the relay, will not wait for that reader.
                for relay in relays:
                    relay.kill()
                raise
            relays.pop(0)

    def say(self, line: str) -> None:
        """A line of plg's own on stderr."""
        if self._words is None:
            tell(line)
        else:
            self._words.say(f"plg: {line}\n".encode(errors="backslashreplace"))

    def _show(self, status: Status) -> None:
        if self._words is not None:
            self._words.show(emit_status(status))

    def _to_files(self, names: Sequence[str], directory: Path, kept: Sequence[Path]) -> None:
        files = open_files(names, directory, kept)
        pipes = self._pipes(names)
        self.streams = {name: Streams(end, end) for name, end in zip(names, self._ends, strict=True)}
        self._relays.append(Relay(FilesPlace(files), pipes, f"what the processes say to {directory}"))
        for file in files:
            os.close(file)

    def _to_own_streams(self, names: Sequence[str]) -> None:
        if os.path.sameopenfile(_STDOUT, _STDERR):
            self._words = self._to_own_stream(_STDERR, names, "stdout and stderr")
            self.streams = {name: Streams(end, end) for name, end in zip(names, self._ends, strict=True)}
            return
        self._to_own_stream(_STDOUT, names, "stdout")
        self._words = self._to_own_stream(_STDERR, names, "stderr")
        halves = self._ends[: len(names)], self._ends[len(names) :]
        self.streams = {name: Streams(out, err) for name, out, err in zip(names, *halves, strict=True)}

    def _to_own_stream(self, stream: int, names: Sequence[str], words: str) -> Relay:
        pipes = self._pipes(names)
        self._relays.append(Relay(StreamPlace(stream, names), pipes, f"what the processes say to {words}"))
        return self._relays[-1]

    def _pipes(self, names: Sequence[str]) -> list[int]:
        """A pipe for each; its other end is plg's to close, when the run is over."""
        pairs = [os.pipe() for _ in names]
        for _, end in pairs:
            os.fchmod(end, _OTHERS_MAY_WRITE)
            self._ends.append(end)
        return [pipe for pipe, _ in pairs]

    def _close_ends(self) -> None:
        for end in self._ends:
            os.close(end)
        self._ends.clear()


def _has_terminal_alone() -> bool:
    """Whether nobody behind a pipe may write to the terminal, too: he would write into the view."""
    mode = os.fstat(_STDOUT).st_mode
    return not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode))


def open_files(names: Sequence[str], directory: Path, kept: Sequence[Path]) -> list[int]:
    """NAME.log for each name, emptied; all of them, or an error and none that was there has been touched."""
    paths = [directory / f"{name}.log" for name in names]
    for path in paths:
        if any(_is_same(path, other) for other in kept):
            raise UsageError(f"cannot write {path}: it is a file of this run already")
    with ExitStack() as undo:
        try:
            if not directory.exists():
                directory.mkdir()
                undo.callback(directory.rmdir)
            files = [_open(path, undo) for path in paths]
        except OSError as error:
            raise PlaygroundError(f"cannot write {error.filename}: {error.strerror}") from error
        undo.pop_all()
    for file in files:
        os.ftruncate(file, 0)
    return files


def _open(path: Path, undo: ExitStack) -> int:
    """A file that was there keeps what is in it, for now."""
    flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        file = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
        undo.callback(path.unlink)
    except FileExistsError:
        file = os.open(path, flags)
    undo.callback(os.close, file)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return file


def _is_same(one: Path, other: Path) -> bool:
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    return one.exists() and other.exists() and one.samefile(other)
