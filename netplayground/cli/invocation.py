"""What every command is started with: --debug, so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., object])


@dataclass(slots=True)
class Invocation:
    """How one command line wants its errors told; filled in while the command line is read."""

    debug: bool = False


def debug_option(command: Function) -> Function:
    """--debug: read before all else, so that it holds for what goes wrong after it."""

    def note(context: click.Context, parameter: click.Parameter, value: bool) -> None:
        context.ensure_object(Invocation).debug = value

    return click.option(
        "--debug",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=note,
        help="Tracebacks of errors.",
    )(command)
