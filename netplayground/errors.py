"""The exception tree: what went wrong, and the exit status that says so (design: command line).

A message is one line, "cannot <verb> <object>: <cause>", lower case, without a full stop, the cause chained.
What a peer, a file or a user does wrong is one of these; what we do wrong is an assert.
"""

from __future__ import annotations


class PlaygroundError(Exception):
    """Net Playground could not do its work."""

    exit_status = 125


class UsageError(PlaygroundError):
    """The command line asks for something that cannot be."""

    exit_status = 2


class SandboxError(PlaygroundError):
    """The kernel refused a namespace, a device, a mount or a process."""


class LimitError(PlaygroundError):
    """A limit of this machine (descriptors, processes) leaves no room for what was asked."""


class DumpError(PlaygroundError):
    """A dump cannot be opened, locked, read or written."""


class NotADumpError(DumpError):
    """The file is not a dump, or one of a version that this plg does not know."""


class DamagedDumpError(DumpError):
    """A dump that claims to be complete has lost or changed bytes; `offset` is where, in bytes."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


class CaptureError(PlaygroundError):
    """A capture cannot be opened or read, or is not what it claims to be."""


class RunFailedError(PlaygroundError):
    """A run that a program asked for did not end with status 0; `result` says how it did (`api.runs`)."""

    def __init__(self, message: str, result: object, status: int) -> None:
        super().__init__(message)
        self.result = result
        self.exit_status = status


class DivergedError(RunFailedError):
    """A replay in which a live process did not do what the recording says; `result` has the verdict."""


class ProcessEndedError(PlaygroundError):
    """A process ended before it did what was waited for.

    `process` is its name, `status` what a shell would call its end, `stderr` the last that it said there."""

    def __init__(self, message: str, process: str, status: int, stderr: str) -> None:
        super().__init__(message)
        self.process = process
        self.status = status
        self.stderr = stderr


class WaitTimeoutError(PlaygroundError, TimeoutError):
    """What was waited for did not come in time."""


class PlaygroundOverError(PlaygroundError):
    """Something was asked of a playground that has not begun or is over."""


class CallError(PlaygroundError):
    """A function that was called in a playground gave no result: it was killed, or the result cannot be
    brought back."""
