"""The playground of one test: recorded or replayed as the mode says, its dump beside the test's file.

dump there? processes as declared? ── record ── test passed ── the dump appears
             │                            └──── failed ─────── the dump that was there stays
             └────────────────────────── replay ── diverged: the test fails, whatever it found itself
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from enum import Enum
from inspect import signature
from pathlib import Path
from typing import Any

from netplayground.api.dump import open_dump
from netplayground.api.playground import SEAT, Playground
from netplayground.api.results import Replayed, diverged_words, divergences_words
from netplayground.dump.appearing import appearing
from netplayground.errors import PlaygroundError, UsageError
from netplayground.session.order import lines_of, words_of
from netplayground.session.plan import name_commands, parse_ready

_UNSAFE = re.compile(r"[^A-Za-z0-9_.,=+@\[\]-]")
_LONGEST_NAME = 120
_FOLDER = "dumps"
_SUFFIX = ".traffic"
_CATCH_UP_S = 2.0
_MOST_SHOWN = 1 << 16
_OURS = frozenset({"processes", "record", "replay", "check"})


class Mode(Enum):
    """When a test is recorded; else it is replayed."""

    NONE = "none"  # never
    ONCE = "once"  # where it has no dump
    NEW = "new"  # where it has none, or that of other processes
    ALL = "all"  # always


class MissingDumpError(PlaygroundError):
    """A test is to be replayed and has no dump."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the mark of a test says."""

    commands: Mapping[str, str]
    live: tuple[str, ...] = ()
    ready: tuple[str, ...] = ()
    start: bool = True
    inside: bool = True
    dump: str | None = None
    options: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, *commands: str, **words: Any) -> Wanted:
        """From the arguments of the mark; UsageError."""
        named = dict(name_commands(lines_of(commands))) if commands else {}
        wanted = cls(
            named,
            live=words_of(words.pop("live", ())),
            ready=words_of(words.pop("ready", ())),
            start=words.pop("start", True),
            inside=words.pop("inside", True),
            dump=words.pop("dump", None),
            options=words,
        )
        for word in words:
            if word not in signature(Playground).parameters or word in _OURS:
                raise UsageError(f"cannot use {word} in the mark plg: it is no option of a test's playground")
        for text in wanted.ready:
            parse_ready(text, list(named))
        for name in wanted.live:
            if name not in named:
                raise UsageError(f"cannot run {name} live: no command is declared for it")
        return wanted


class Staged:
    """A test's playground, from its set-up to its end."""

    def __init__(self, wanted: Wanted, folder: Path, module: str, test: str, mode: Mode) -> None:
        """`folder`, `module` and `test` are the test's: its file's folder and name, its own name."""
        self._wanted = wanted
        self._dump = folder / wanted.dump if wanted.dump else dump_path(folder, module, test)
        self._mode = mode
        self._stack = ExitStack()
        self.is_over = False
        self.playground = Playground()

    def __enter__(self) -> Playground:
        """Set it up; PlaygroundError."""
        with ExitStack() as stack:
            if self._is_to_be_recorded():
                target, live = self._record(stack), {}
            else:
                target, live = {"replay": self._dump}, {"live": self._wanted.live}
            options = {"check": False, **(self._wanted.options or {}), **target, **live}
            self.playground = stack.enter_context(Playground(self._wanted.commands, **options))
            if self._wanted.start:
                self._start()
            if self._wanted.inside:
                stack.enter_context(self.playground.inside())
            self._stack = stack.pop_all()
        return self.playground

    def finish(self, has_passed: bool) -> str | None:
        """End it, once; in what the replay diverged, if it did. The dump of a recording appears where the
        test has passed. A test that has failed had no more to say: what is missing since then is no news."""
        if self.is_over:
            return None
        self.is_over = True
        with suppress(_NotKept), self._stack:
            result = self.playground.finish(in_order=has_passed)
            if not has_passed and not self.playground.is_replay:
                raise _NotKept
        return diverged_words(result, is_cut=not has_passed) if isinstance(result, Replayed) else None

    def diverged_so_far(self) -> str | None:
        """In what the replay has diverged until now, if it did."""
        if not self.playground.is_replay:
            return None
        found = self.playground.divergences(wait=_CATCH_UP_S)
        return divergences_words(self._dump, found, len(found))

    def outputs(self) -> Iterable[tuple[str, str]]:
        """What each process said, the last of it: a title and the text."""
        for process in self.playground.processes:
            for stream, text in (("stdout", process.stdout), ("stderr", process.stderr)):
                if text:
                    yield f"{stream} of {process.name}", text[-_MOST_SHOWN:]

    def _is_to_be_recorded(self) -> bool:
        if self._mode is Mode.ALL:
            return True
        if not self._dump.exists():
            if self._mode is Mode.NONE:
                raise MissingDumpError(
                    f"cannot replay {self._dump}: there is no such dump, and --plg-record=none records none"
                )
            return True
        return self._mode is Mode.NEW and not self._is_up_to_date()

    def _is_up_to_date(self) -> bool:
        """Whether the dump was made by the processes that are declared now."""
        with open_dump(self._dump) as dump:
            recorded = {process.name: process.command for process in dump.processes}
        recorded.pop((self._wanted.options or {}).get("seat", SEAT), None)
        return recorded == dict(self._wanted.commands)

    def _record(self, stack: ExitStack) -> dict[str, Path]:
        """Where to record to: a file that appears at the end."""
        folders = _missing_folders(self._dump.parent)
        self._dump.parent.mkdir(parents=True, exist_ok=True)
        stack.callback(_remove_empty, folders)
        file = stack.enter_context(appearing(self._dump))
        return {"record": Path(f"/proc/self/fd/{file.fileno()}")}

    def _start(self) -> None:
        rules = [parse_ready(text, list(self._wanted.commands)) for text in self._wanted.ready]
        for name in self._wanted.commands:
            process = self.playground.start(name)
            for rule in rules:
                if rule.name == name:
                    process.wait_until_listening(rule.port)


class _NotKept(Exception):
    """The recording of a test that failed is to leave nothing."""


def dump_path(folder: Path, module: str, test: str) -> Path:
    """Where the dump of a test lies: its name, with what is no part of a file name replaced, and then with a
    few letters that make it unlike any other's again."""
    safe = _UNSAFE.sub("_", test)[:_LONGEST_NAME]
    if safe != test:
        safe += f"-{hashlib.sha256(test.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
    return folder / _FOLDER / module / f"{safe}{_SUFFIX}"


def _missing_folders(folder: Path) -> Sequence[Path]:
    """Those that are still to be made, the innermost first."""
    return [each for each in (folder, *folder.parents) if not each.exists()]


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:
        with suppress(OSError):  # something is in it
            folder.rmdir()
