"""The ground that a run stands on: descriptors enough, the proxy namespace, the sandbox with its processes.

All of it is taken down in the reverse order, whatever went wrong on the way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface

from netplayground.sandbox.command import Streams
from netplayground.sandbox.identity import resolve_identity
from netplayground.sandbox.inheritance import Inheritance
from netplayground.sandbox.playground import Sandbox
from netplayground.sandbox.process import ProcessSpec
from netplayground.sandbox.proxy import ProxyNamespace, enter_proxy_namespace
from netplayground.session.plan import SUBNET6, Plan, PlannedProcess
from netplayground.session.room import raise_descriptor_limit
from netplayground.session.signals import SignalWatch

_TX_QUEUE = 10_000  # packets; the kernel's 500 loses most of thirty large datagrams


@dataclass(frozen=True, slots=True)
class Ground:
    """What stands: signals that are waited for, the proxy namespace, the live processes before they start."""

    signals: SignalWatch
    proxy: ProxyNamespace
    sandbox: Sandbox


@contextmanager
def stand(plan: Plan, streams: Mapping[str, Streams] | None = None) -> Iterator[Ground]:
    """Make all that the plan needs; PlaygroundError when that cannot be done.

    `streams`: by name, who does not have plg's own stdout and stderr.

    The calling process moves into a network namespace of its own for good, and must have one thread.
    """
    inheritance = Inheritance.of_this_process()
    raise_descriptor_limit()
    with ExitStack() as stack:
        signals = stack.enter_context(SignalWatch())
        proxy = enter_proxy_namespace(plan.mtu, _TX_QUEUE)
        stack.callback(proxy.close)
        specs = {process: _spec(process, plan.subnet) for process in plan.processes}
        sandbox = Sandbox(
            [spec for process, spec in specs.items() if process.is_live],
            proxy,
            mtu=plan.mtu,
            queue=_TX_QUEUE,
            kill_signal=plan.kill_signal,
            grace_s=plan.grace_s,
            identity=resolve_identity(plan.uid, plan.gid),
            keep_hostname=plan.keep_hostname,
            inheritance=inheritance,
            absent=[spec for process, spec in specs.items() if not process.is_live],
            streams=streams,
        )
        stack.callback(sandbox.close)
        sandbox.build()
        yield Ground(signals, proxy, sandbox)


def _spec(process: PlannedProcess, subnet: IPv4Network) -> ProcessSpec:
    """With the prefixes: programs find their neighbours and their broadcast address by them."""
    return ProcessSpec(
        process.name,
        process.position,
        process.command,
        IPv4Interface((process.address4, subnet.prefixlen)),
        IPv6Interface((process.address6, SUBNET6.prefixlen)),
    )
