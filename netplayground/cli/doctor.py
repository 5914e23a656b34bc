"""`plg doctor`: can this machine run a playground, and if not, how is it mended?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from netplayground.cli.invocation import debug_option
from netplayground.cli.words import columns, write_lines
from netplayground.errors import PlaygroundError

if TYPE_CHECKING:
    from netplayground.sandbox.doctor import Finding


@click.command(
    "doctor", help="Try each thing that plg needs of this machine; say it is fine, or how to mend it."
)
@debug_option
def command() -> int:
    from netplayground.sandbox.doctor import examine  # heavy: the kernel's interfaces

    findings = examine()
    write_lines(report(findings))
    return 0 if all(finding.ok for finding in findings) else PlaygroundError.exit_status


def report(findings: Sequence[Finding]) -> Iterator[str]:
    for finding, line in zip(findings, _table(findings), strict=True):
        yield line
        if not finding.ok and finding.remedy:
            yield f"         to mend: {finding.remedy}"


def _table(findings: Sequence[Finding]) -> Iterator[str]:
    return columns([("fine" if each.ok else "MISSING", each.need, each.text) for each in findings])
