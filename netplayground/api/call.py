"""A function of this program, called in a playground: in a fork that has entered the seat's namespaces.

    this program ── fork ── enters user, network, host name, mounts; names its children's PID namespace
                              └── fork ── in that PID namespace; calls, sends the result, ends

A fork has one thread, and so it may enter a user namespace that belongs to its user, root or not. The second
fork is needed because nobody changes the PID namespace that he is in himself. It dies with the seat. The fork
gives up what power entering gave it: the function has the power of a command, over files and the network.

The second fork's parent is outside: if that went first, the machine's init would have to reap it, which may
be slow at that, and until then the kernel keeps the whole PID namespace. So the first is never killed:
SIGTERM, by us or for our death, is its word to kill the second, and to go after it.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import struct
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

from netplayground.errors import CallError, WaitTimeoutError
from netplayground.sandbox import kernel, powers

T = TypeVar("T")

_GIVE_UP = signal.SIGTERM
_HEARD = {_GIVE_UP, signal.SIGCHLD}
_LENGTH = struct.Struct(">Q")
_KINDS = {
    "user": kernel.CLONE_NEWUSER,
    "net": kernel.CLONE_NEWNET,
    "uts": kernel.CLONE_NEWUTS,
    "mnt": kernel.CLONE_NEWNS,
    "pid": kernel.CLONE_NEWPID,
}


class _Remote(Exception):
    """The traceback of an exception, as it was in the fork."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def call_in(
    namespaces: Mapping[str, int],
    function: Callable[[], T],
    timeout_s: float | None,
    acts: Callable[[int], contextlib.AbstractContextManager[None]],
    forget: Callable[[], None],
) -> T:
    """The function's result, or its exception; CallError, WaitTimeoutError.

    `acts(pid)` is entered while the fork lives; `forget` is called in it, before all else."""
    here, there = os.pipe()
    _flush()
    with warnings.catch_warnings():
        # The fork has but this thread, and calls what it was given, as with multiprocessing's fork.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        os.close(here)
        forget()
        _enter_and_call(namespaces, function, there)
    os.close(there)
    with open(here, "rb") as pipe:
        try:
            with acts(pid):
                data = _read(pipe.fileno(), pid, timeout_s)
        finally:
            status = _reap(pid)
    if not data:
        raise CallError(f"cannot call {_name(function)} in the playground: it {_end(status)}")
    value: T = _unpack(data)
    return value


def _read(descriptor: int, pid: int, timeout_s: float | None) -> bytes:
    """All that is announced; what a child of the function keeps open is not waited for."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    data = b""
    try:
        while len(data) < _LENGTH.size or len(data) < _LENGTH.size + _LENGTH.unpack_from(data)[0]:
            left = None if deadline is None else max(0, deadline - time.monotonic()) * 1000
            if not poll.poll(left):
                raise WaitTimeoutError(f"the function did not return within {timeout_s:g} s")
            piece = os.read(descriptor, 1 << 20)
            if not piece:
                return b""
            data += piece
    except BaseException:
        os.kill(pid, _GIVE_UP)
        raise
    return data[_LENGTH.size :]


def _reap(pid: int) -> int:
    try:
        return os.waitpid(pid, 0)[1]
    except ChildProcessError:
        return 0  # somebody in this program reaps whatever there is


def _unpack(data: bytes) -> Any:
    try:
        is_good, value, trace = pickle.loads(data)
    except Exception as error:
        raise CallError(f"cannot take what came from the playground: {error}") from error
    if is_good:
        return value
    value.__cause__ = _Remote(trace)
    raise value


def _end(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"was killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exited with status {os.WEXITSTATUS(status)}"


def _name(function: object) -> str:
    inner = getattr(function, "func", function)
    return getattr(inner, "__qualname__", repr(inner))


def _flush() -> None:
    """What waits to be written must not be written twice."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()


# In the fork.


def _enter_and_call(namespaces: Mapping[str, int], function: Callable[[], object], pipe: int) -> NoReturn:
    try:
        parent = os.getppid()
        former = signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
        try:
            _enter(namespaces)
        except OSError as error:
            _send(pipe, False, CallError(f"cannot enter the playground: {error.strerror}"))
            os._exit(0)
        kernel.die_with_parent(_GIVE_UP)
        if os.getppid() != parent:
            os._exit(1)
        former_handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, former_handler or signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, former)
            _call(function, pipe)
        os.close(pipe)
        _end_as(_await_end(pid))
    finally:
        os._exit(1)


def _await_end(pid: int) -> int:
    """The status of the second fork, which ends by itself or when it is given up."""
    ended = status = 0
    while not ended:
        if signal.sigwait(_HEARD) == _GIVE_UP:
            os.kill(pid, signal.SIGKILL)
        ended, status = os.waitpid(pid, os.WNOHANG)
    return status


def _end_as(status: int) -> NoReturn:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.kill(os.getpid(), number)
    os._exit(os.WEXITSTATUS(status))


def _enter(namespaces: Mapping[str, int]) -> None:
    folder = os.getcwd()
    last = powers.last_capability()
    for kind, descriptor in namespaces.items():
        kernel.setns(descriptor, _KINDS[kind])
        os.close(descriptor)
    os.chdir(folder)  # a mount namespace is entered at its root
    powers.keep_those_of_a_command(last)


def _call(function: Callable[[], object], pipe: int) -> NoReturn:
    try:
        try:
            _send(pipe, True, function())
        except BaseException as error:
            _send(pipe, False, error)
        _flush()
        os._exit(0)
    finally:
        os._exit(1)


def _send(pipe: int, is_good: bool, value: object) -> None:
    trace = "" if is_good else traceback.format_exc()
    try:
        data = pickle.dumps((is_good, value, trace))
        pickle.loads(data)
    except Exception as error:
        what = "its result" if is_good else f"its exception, {value!r},"
        words = f"cannot bring back what a function gave: {what} cannot be pickled: {error}"
        data = pickle.dumps((False, CallError(f"{words}\n{trace}".rstrip()), trace))
    with open(pipe, "wb") as file:
        file.write(_LENGTH.pack(len(data)) + data)
