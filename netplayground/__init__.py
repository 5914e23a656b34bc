"""Net Playground: run programs in network namespaces, record every byte they say, replay it.

What a Python program uses of it (`netplayground.api`) is here, too, and imported when it is asked for.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # typing's own takes the command some time to import
if TYPE_CHECKING:
    from netplayground import errors
    from netplayground.api import (
        Chunk,
        Conversation,
        Datagram,
        Dump,
        Output,
        Playground,
        Process,
        Recorded,
        Replayed,
        open_dump,
        record,
        replay,
    )

__all__ = [
    "Chunk",
    "Conversation",
    "Datagram",
    "Dump",
    "Output",
    "Playground",
    "Process",
    "Recorded",
    "Replayed",
    "errors",
    "open_dump",
    "record",
    "replay",
]
__version__ = "0.1.0"


if not TYPE_CHECKING:  # to a checker of types it would say that every name is there

    def __getattr__(name):
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        if name == "errors":
            return import_module("netplayground.errors")
        value = globals()[name] = getattr(import_module("netplayground.api"), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(type(sys)):  # type: ignore[misc]  # types.ModuleType, without its import
    """`replay` is a function for who uses the package, and the name of a room in it: once that is imported,
    the import system puts it in the function's place. So the room can be called."""

    def __setattr__(self, name: str, value: object) -> None:
        if name == "replay" and type(value) is type(sys):
            value.__class__ = _Room
        super().__setattr__(name, value)


class _Room(type(sys)):  # type: ignore[misc]
    def __call__(self, *arguments: object, **options: object) -> object:
        from netplayground.api import replay

        return replay(*arguments, **options)  # type: ignore[arg-type]

    @property
    def __signature__(self) -> object:
        from inspect import signature

        from netplayground.api import replay

        return signature(replay)


sys.modules[__name__].__class__ = _Package
