"""How a run goes, as lines for the bottom of a terminal: processes, what crosses the wire, a replay's tape.

rich takes 0.05 s to import; so this module is imported by whoever draws, when there is something to draw.
"""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console, ConsoleRenderable, Group
from rich.filesize import decimal
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from netplayground.cli.words import counted, printable, shortened
from netplayground.session.status import ProcessStatus, Status, TapeStatus

_RATE_OVER_S = 2.0
_BAR_WIDTH = 30
_SEPARATOR = " · "


class View:
    """The lines of one run."""

    def __init__(self, in_colour: bool) -> None:
        self._in_colour = in_colour
        self._status: Status | None = None
        self._past: deque[Status] = deque()

    def take(self, status: Status) -> None:
        """This is how it goes now."""
        self._status = status
        self._past.append(status)
        while status.seconds - self._past[0].seconds > _RATE_OVER_S and len(self._past) > 2:
            self._past.popleft()

    def lines(self, columns: int, rows: int, begun: Sequence[tuple[str, bytes]]) -> list[str]:
        """What is to be drawn; `begun` are lines that processes have begun and not ended."""
        if self._status is None:
            return []
        figures = packed(self._figures(self._status), columns)[: max(1, rows // 2)]
        bar = [tape_bar(self._status.tape, columns)] if self._status.tape else []
        room = max(0, rows - len(figures) - len(bar))
        begun = begun[: max(0, room - len(self._status.processes))]
        parts: list[ConsoleRenderable] = [Text(f"{name} | {shown(data)}") for name, data in begun]
        parts += [processes_table(self._status.processes, room - len(begun)), *bar]
        parts += [Text(line, style="dim") for line in figures]
        return rendered(Group(*parts), columns, self._in_colour)[:rows]

    def _figures(self, status: Status) -> Iterator[str]:
        yield clock(status.seconds)
        if status.tape:
            yield f"{counted(status.open_connections, 'connection')} open"
        else:
            yield f"{status.open_connections:,} of {counted(status.connections, 'connection')} open"
            yield self._amount("to servers", "bytes_to_servers")
            yield self._amount("to clients", "bytes_to_clients")
        if status.datagrams:
            yield counted(status.datagrams, "datagram")
        yield f"{status.dropped:,} dropped"

    def _amount(self, where: str, field: str) -> str:
        last, first = self._past[-1], self._past[0]
        more, time = getattr(last, field) - getattr(first, field), last.seconds - first.seconds
        rate = f" ({decimal(int(more / time))}/s)" if more > 0 and time > 0 else ""
        return f"{decimal(getattr(last, field))} {where}{rate}"


def processes_table(processes: Sequence[ProcessStatus], room: int) -> Table:
    """A row for each, as far as there is room; then how many more there are."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, overflow="ellipsis")
    table.add_column(no_wrap=True, overflow="ellipsis")
    kept = len(processes) if len(processes) <= room else max(0, room - 1)
    for process in processes[:kept]:
        table.add_row(process.name, Text(printable(process.state), style=_style(process)))
    left = processes[kept:]
    if left and room:
        running = sum(process.is_running for process in left)
        table.add_row("…", Text(f"{len(left):,} more, {running:,} running", style="dim"))
    return table


def _style(process: ProcessStatus) -> str:
    if process.has_failed:
        return "red"
    return "green" if process.is_running else "dim"


def tape_bar(tape: TapeStatus, columns: int) -> Table:
    """How much of the tape is played."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=_bar_width(columns))
    grid.add_column(no_wrap=True, overflow="ellipsis")
    words = f"{tape.position_ns / 1e9:.1f} of {tape.length_ns / 1e9:.1f} s of the recording"
    if tape.divergences:
        words += f", {counted(tape.divergences, 'divergence')}"
    # An empty tape is played.
    bar = ProgressBar(total=max(1, tape.length_ns), completed=tape.position_ns if tape.length_ns else 1)
    grid.add_row(bar, Text(words, style="red" if tape.divergences else ""))
    return grid


def packed(figures: Iterable[str], columns: int) -> list[str]:
    """Figures one after another on as few lines as they need."""
    lines: list[str] = []
    for figure in figures:
        if lines and len(lines[-1]) + len(_SEPARATOR) + len(figure) <= columns:
            lines[-1] += _SEPARATOR + figure
        else:
            lines.append(shortened(figure, columns))
    return lines


def shown(data: bytes) -> str:
    """The end of what stands on a line that is not at its end: after the last return to its beginning."""
    text = data.rstrip(b"\r").rpartition(b"\r")[2].decode(errors="replace")
    return printable(text)


def progress_bar(done: int, size: int, left_s: float | None, columns: int) -> Table:
    """How far a long piece of work has come, in bytes; `size` 0: nobody knows how long it is."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=_bar_width(columns))
    grid.add_column(no_wrap=True, overflow="ellipsis")
    words = f"{100 * done // size} % of {decimal(size)}" if size else decimal(done)
    if left_s is not None:
        words += f", {clock(left_s)} left"
    grid.add_row(ProgressBar(total=size or None, completed=done, pulse=not size), words)
    return grid


def clock(seconds: float) -> str:
    """Minutes and seconds: '1:05'."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def _bar_width(columns: int) -> int:
    return max(5, min(_BAR_WIDTH, columns // 3))


def rendered(what: ConsoleRenderable, columns: int, in_colour: bool | None = None) -> list[str]:
    """Lines without blanks at their ends, none longer than `columns`; in colour unless NO_COLOR is set."""
    if in_colour is None:
        in_colour = not os.environ.get("NO_COLOR")
    console = Console(
        file=io.StringIO(),
        width=columns,
        color_system="standard" if in_colour else None,
        force_terminal=True,
        legacy_windows=False,
    )
    with console.capture() as capture:
        console.print(what, no_wrap=True, overflow="ellipsis", crop=True)
    return [line.rstrip() for line in capture.get().splitlines()]
