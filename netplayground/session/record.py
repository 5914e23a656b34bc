"""A recording from start to end.

the ground stands ── the dump begins ── run ── the dump ends
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

from netplayground.dump.model import Process, RunHeader
from netplayground.dump.writer import DumpWriter, check_writable
from netplayground.sandbox.command import Streams
from netplayground.session.ground import Ground, stand
from netplayground.session.outcome import DROPS_FACT, RunSummary
from netplayground.session.plan import SUBNET6, Plan
from netplayground.session.recorder import Recorder
from netplayground.session.run import Narrate, Run
from netplayground.session.status import Status, Watch
from netplayground.traffic.connect import Connector

if TYPE_CHECKING:
    from netplayground.session.control import Control  # imports half of a replay


def record(
    plan: Plan,
    narrate: Narrate,
    streams: Mapping[str, Streams] | None = None,
    control: Control | None = None,
    watch: Watch | None = None,
) -> RunSummary:
    """Run the plan's processes and record them; PlaygroundError when that cannot be done.

    `streams`: by name, who does not have plg's own stdout and stderr. `control`: by way of which the program
    that started plg leads the run. `watch` hears a few times a second how it goes.

    The calling process moves into a network namespace of its own for good, and must have one thread.
    """
    check_writable(plan.dump_path)
    with stand(plan, streams) as ground, ExitStack() as stack:
        writer = DumpWriter.create(plan.dump_path, _run_header(plan), time.time_ns(), time.monotonic_ns)
        stack.callback(writer.close, complete=False)
        recording = Recording(plan, narrate, ground, writer, control)
        stack.callback(recording.close)
        if watch is not None:
            recording.be_watched(watch)
        return recording.run()


class Recording(Run):
    """A run that is recorded."""

    def __init__(
        self, plan: Plan, narrate: Narrate, ground: Ground, writer: DumpWriter, control: Control | None
    ) -> None:
        self._writer = writer
        super().__init__(plan, narrate, ground, writer.fileno(), writer.flush, control)
        self._recorder = Recorder(writer, self._by_address, narrate if plan.verbosity else None)
        connector = Connector(
            self._workspace,
            self._proxy_link,
            ground.proxy.tun_index,
            self._by_address,
            self._recorder.new_connection,
            self._room,
            narrate,
        )
        self._route(connector, self._recorder.courier)

    def run(self) -> RunSummary:
        """Go from the start of the processes to the complete dump."""
        duration_s = self._go()
        drops = self._count_drops()
        self._tell(DROPS_FACT, processes=drops)
        self._writer.close()
        return RunSummary(
            processes=self._processes.outcomes,
            traffic=self._recorder.traffic(drops),
            dump_path=self._plan.dump_path,
            dump_bytes=self._writer.bytes_written,
            duration_s=duration_s,
            trouble=self._trouble,
            timed_out_after_s=self._timed_out_after_s,
            until_process=self._until_process,
            interrupted_by=self._interrupted_by,
        )

    def _tell(self, kind: str, **fields: object) -> None:
        self._writer.fact(kind, **fields)

    def _said(self) -> int:
        return self._writer.bytes_written

    def _status(self) -> Status:
        totals = self._writer.totals
        to_servers, to_clients = self._writer.byte_counts
        return Status(
            seconds=time.monotonic() - self._began,
            processes=self._process_states(),
            open_connections=self._interceptor.open_count,
            dropped=self._dropped(),
            connections=totals.connections,
            bytes_to_servers=to_servers,
            bytes_to_clients=to_clients,
            datagrams=totals.datagrams,
        )


def _run_header(plan: Plan) -> RunHeader:
    return RunHeader(
        subnets=(str(plan.subnet), str(SUBNET6)),
        processes=tuple(
            Process(process.name, process.position, (process.address4, process.address6), process.command)
            for process in plan.processes
        ),
        options={
            "ready": [rule.name if rule.port is None else f"{rule.name}:{rule.port}" for rule in plan.ready],
            "until": list(plan.until),
            "kill_signal": plan.kill_signal,
            "grace_s": plan.grace_s,
            "timeout_s": plan.timeout_s,
            "mtu": plan.mtu,
        },
    )
