"""The command `plg`: finds the command that is asked for, and turns every error into one line and a status.

`plg --record …` is `plg record …`. A command's module is imported only when it is asked for, and imports what
is heavy (the kernel's interfaces, the dump's reader) only when it runs: start-up counts.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence

import click

from netplayground import __version__
from netplayground.cli.invocation import Invocation
from netplayground.cli.words import printable, tell
from netplayground.errors import PlaygroundError, UsageError

BROKEN_PIPE = 128 + 13  # as a shell says it of a program that SIGPIPE ended
INTERRUPTED = 128 + 2

MODES = ("record", "replay")
COMMANDS = {
    "record": "run commands and record what they say to one another",
    "replay": "run them again, and let each hear what it heard",
    "show": "what a dump holds: processes, connections, bytes",
    "check": "is a dump whole and complete?",
    "import": "captures of tcpdump or Wireshark become a dump",
    "export": "a recording becomes a capture, files or JSON",
    "capture": "what crosses an interface becomes a dump",
    "report": "a recording becomes a page to look at",
    "diff": "do two recordings say the same? and the rules for what may differ",
    "redact": "a copy of a dump without its secrets",
    "doctor": "can this machine run a playground, and if not, how to mend it",
}
MODULES = {"import": "import_"}
"""Where a command's name is a word of Python."""


class Commands(click.Group):
    """The commands by name, each imported when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(
            f"netplayground.cli.{MODULES.get(cmd_name, cmd_name)}"
        ).command
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, mode_first(args))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def mode_first(arguments: Sequence[str]) -> list[str]:
    """`-f FILE --record COMMAND` as `record -f FILE COMMAND`; words that name a command stay as they are."""
    words = list(arguments)
    if words and words[0] in (*COMMANDS, "--help", "-h", "--version"):
        return words
    options = words[: words.index("--")] if "--" in words else words
    modes = [mode for mode in MODES if f"--{mode}" in options]
    if len(modes) == 2:
        raise click.UsageError(
            "cannot record and replay in one run: --record and --replay exclude each other"
        )
    if modes:
        words.remove(f"--{modes[0]}")
        return [modes[0], *words]
    if not words or words[0].startswith("-"):
        raise click.UsageError("cannot tell what to do: give --record or --replay, or a command")
    return words


@click.group(
    cls=Commands,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    options_metavar="--record | COMMAND",
    subcommand_metavar="[OPTIONS] ...",
)
@click.version_option(__version__, prog_name="plg", message="%(prog)s %(version)s")
def program() -> None:
    """Run programs in network namespaces and record every byte they say to one another.

    \b
    plg --record -f dump.traffic --ready p1 --until p2 \\
        "python3 -m http.server" "curl http://10.0.0.1:8000/"
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line to its end and answer its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    invocation = Invocation()
    _fill_standard_descriptors()
    try:
        return _run(words, invocation)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        tell(printable(_in_our_words(error)))
        return UsageError.exit_status
    except PlaygroundError as error:
        return _explain(error, str(error), error.exit_status, invocation)
    except KeyboardInterrupt as error:
        return _explain(error, "interrupted", INTERRUPTED, invocation)
    except BrokenPipeError:
        _give_up_stdout()
        return BROKEN_PIPE
    except Exception as error:
        words_for_it = f"cannot go on: {type(error).__name__}: {error} (a bug of plg: --debug shows where)"
        return _explain(error, words_for_it, PlaygroundError.exit_status, invocation)


def _fill_standard_descriptors() -> None:
    """No file of ours may become stdin, stdout or stderr by its number where plg was started without."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _run(words: list[str], invocation: Invocation) -> int:
    with program.make_context("plg", words, obj=invocation) as context:
        status: int | None = program.invoke(context)
    if sys.stdout is not None:
        sys.stdout.flush()
    return status or 0


def _in_our_words(error: click.ClickException) -> str:
    """Click's message as ours are (lower case, no full stop), and where to read on."""
    message = error.format_message().rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    where = f" (see {context.command_path} --help)" if context else ""
    return message[:1].lower() + message[1:] + where


def _explain(error: BaseException, message: str, status: int, invocation: Invocation) -> int:
    if invocation.debug:
        traceback.print_exception(error)
    tell(printable(message))
    return status


def _give_up_stdout() -> None:
    """Nobody reads on: what is still buffered goes nowhere, and the interpreter's last flush stays quiet."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
