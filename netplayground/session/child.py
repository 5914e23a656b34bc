"""plg as the child of a program: takes its order on stdin, runs it, says by the control socket how it went.

order ── plan ── run, led by session.control ── {"event": "over", "result": …}
            └──────────────────────────────── {"event": "failed", "kind": …, "message": …}
"""

from __future__ import annotations

import os
import pickle
import socket
import sys
import traceback
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace

from netplayground.dump.recording import Recording
from netplayground.errors import DamagedDumpError, PlaygroundError
from netplayground.replay.verdict import Verdict
from netplayground.sandbox.command import Streams
from netplayground.session.caller import caller
from netplayground.session.control import Control
from netplayground.session.order import Order
from netplayground.session.outcome import RunSummary
from netplayground.session.parcel import pack
from netplayground.session.plan import DEFAULT_SUBNET, Plan, plan_record
from netplayground.session.playable import open_playable
from netplayground.session.record import record
from netplayground.session.replay import replay
from netplayground.session.replay_plan import plan_pace, plan_replay
from netplayground.session.sinks import Sinks

_NO_COMMAND = ":"

Result = tuple[RunSummary, Verdict | None]


def main() -> None:
    """Carry out the order; the control socket has the result."""
    order: Order = pickle.load(sys.stdin.buffer)
    for descriptor in order.descriptors:
        os.set_inheritable(descriptor, False)
    _hear_nothing()
    channel = socket.socket(fileno=order.control)
    if os.getppid() != order.leader:
        return  # it is dead already, and somebody else our parent
    control = Control(channel, order.leader, Sinks(order.outputs), order.seat, order.seat_channel)
    try:
        result = carry_out(order, control)
        control.answer_all()
        control.tell({"event": "over", "result": pack(result)})
    except PlaygroundError as error:
        control.tell(_failure(error))
    except Exception as error:
        traceback.print_exc()
        words = f"cannot go on: {type(error).__name__}: {error} (a bug of plg)"
        control.tell({"event": "failed", "kind": PlaygroundError.__name__, "message": words})
    finally:
        control.close()


def _hear_nothing() -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)


def _failure(error: PlaygroundError) -> Mapping[str, object]:
    offset = error.offset if isinstance(error, DamagedDumpError) else None
    return {"event": "failed", "kind": type(error).__name__, "message": str(error), "offset": offset}


def carry_out(order: Order, control: Control) -> Result:
    """One run; PlaygroundError when it cannot be."""
    said: list[str] = []
    with ExitStack() as stack:
        stack.callback(control.sinks.close)
        streams = dict(control.sinks.streams)
        if order.seat is not None:
            streams[order.seat] = Streams(1, 2, order.seat_channel)
        if order.replay is None:
            summary = record(_plan_record(order), said.append, streams, control)
            return replace(summary, notes=(*summary.notes, *said)), None
        pace = plan_pace(order.replay)
        recording = stack.enter_context(open_playable(order.options.dump_path, order.names, said.append))
        replayed = replay(_plan_replay(order, recording), pace, recording, said.append, streams, control)
        run = replayed.run
        return replace(run, notes=(*run.notes, *said)), replayed.verdict


def _commands(order: Order) -> list[str]:
    own = [] if order.seat is None else [f"{order.seat}: {_NO_COMMAND}"]
    return [*order.commands, *own]


def _plan_record(order: Order) -> Plan:
    return _seated(plan_record(order.options, _commands(order), caller()), order.seat)


def _plan_replay(order: Order, recording: Recording) -> Plan:
    subnets = (text for text in recording.run.subnets if ":" not in text)
    options = order.options
    if order.keeps_addresses:
        options = replace(options, subnet=next(subnets, DEFAULT_SUBNET))
    plan = plan_replay(
        options, _commands(order), recording.processes, caller(), keeps_addresses=order.keeps_addresses
    )
    return _seated(plan, order.seat)


def _seated(plan: Plan, seat: str | None) -> Plan:
    """The plan with a seat that has no command, which no command line can say: nobody else can play it."""
    processes = tuple(
        replace(process, command="") if process.name == seat else process for process in plan.processes
    )
    return replace(plan, processes=processes)


if __name__ == "__main__":
    main()
