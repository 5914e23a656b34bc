"""What commands are started with: --debug, and the paths of files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click

FILE = click.Path(path_type=Path, readable=False)
"""The path of a file. Whether it can be read says who reads it: that is no matter of the command line."""

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
