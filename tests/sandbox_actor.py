"""Plays commands in a real sandbox, in this process, and says over a pipe what happened to whom (JSON).

Run by `sandbox_stage.start_play()` with the task as its only argument.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections.abc import Sequence
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path
from typing import Any

from netplayground.errors import PlaygroundError
from netplayground.sandbox.identity import Identity
from netplayground.sandbox.inheritance import Inheritance
from netplayground.sandbox.playground import Sandbox
from netplayground.sandbox.process import ProcessSpec, SandboxedProcess
from netplayground.sandbox.proxy import enter_proxy_namespace


def main(task: dict[str, Any]) -> None:
    os.set_inheritable(task["report"], False)
    inheritance = Inheritance.of_this_process()
    facts: dict[str, Any] = {}
    try:
        events = _play(task["commands"], task["options"], inheritance, facts)
    except PlaygroundError as error:
        events, facts["error"] = [], f"{type(error).__name__}: {error}"
    os.write(task["report"], json.dumps({"events": events, "facts": facts}).encode())


def _play(
    commands: Sequence[str], options: dict[str, Any], inheritance: Inheritance, facts: dict[str, Any]
) -> list[list[str]]:
    proxy = enter_proxy_namespace()
    sandbox = Sandbox(
        _specs(commands, options.get("names")),
        proxy,
        kill_signal=options.get("kill_signal", signal.SIGTERM),
        grace_s=options.get("grace_s", 5.0),
        identity=Identity(**options["identity"]) if "identity" in options else None,
        keep_hostname=options.get("keep_hostname", False),
        inheritance=inheritance,
    )
    began = time.monotonic()
    sandbox.build()
    facts["build_s"] = time.monotonic() - began
    try:
        return _run(sandbox.processes, options, facts)
    finally:
        closing = time.monotonic()
        sandbox.close()
        facts["close_s"] = time.monotonic() - closing


def _specs(commands: Sequence[str], names: Sequence[str] | None) -> list[ProcessSpec]:
    names = names or [f"p{number}" for number in range(1, len(commands) + 1)]
    return [
        ProcessSpec(
            name,
            number,
            command,
            IPv4Interface(f"10.0.0.{number}/24"),
            IPv6Interface(f"fd00:706c:67::{number:x}/64"),
        )
        for number, (name, command) in enumerate(zip(names, commands, strict=True), 1)
    ]


def _run(
    processes: Sequence[SandboxedProcess], options: dict[str, Any], facts: dict[str, Any]
) -> list[list[str]]:
    """Start every process and serve until all are gone; the file named by `when` triggers `act`."""
    events: list[list[str]] = [[] for _ in processes]
    poller = select.poll()
    by_descriptor = {process.control: index for index, process in enumerate(processes)}
    for process in processes:
        poller.register(process.control, select.POLLIN)
        process.start()
    trigger = Path(options["when"]) if "when" in options else None
    while by_descriptor:
        for descriptor, _ in poller.poll(10 if trigger else None):
            index = by_descriptor[descriptor]
            events[index] += [repr(event) for event in processes[index].read_messages()]
            if events[index][-1:] == ["Gone()"]:
                poller.unregister(descriptor)
                del by_descriptor[descriptor]
        if trigger and trigger.exists():
            _act(processes, options["act"], facts)
            trigger = None
    return events


def _act(processes: Sequence[SandboxedProcess], act: str, facts: dict[str, Any]) -> None:
    first = processes[0]
    match act.split():
        case ["signal", number]:
            first.signal(int(number))
        case ["finish"]:
            first.finish()
        case ["kill"]:
            first.kill()
        case ["look"]:
            facts["listening"] = sorted([str(address), port] for address, port in first.listening())
            facts["unix"] = sorted(first.unix_listeners())
            facts["dropped"] = first.tx_dropped()
            first.finish()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
