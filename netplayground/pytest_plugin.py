"""The pytest plugin: the fixture `playground`, a test's processes in networks of their own.

A suite that does not use it pays for this module alone: all else is imported by the fixture.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from netplayground.api.playground import Playground
    from netplayground.api.staging import Staged

_MODES = ("none", "once", "new", "all")
_MARK = (
    "plg(*commands, live=(), ready=(), start=True, inside=True, dump=None, **options): the processes of the "
    "fixture `playground`, lines 'name: command'; who of them runs in a replay; who must listen before the "
    "next one starts ('db', 'db:5432'); whether they are started, and the test's own sockets inside; another "
    "path of the dump than the usual one, from the test's folder; else options of netplayground.Playground"
)
_staged = pytest.StashKey["Staged"]()
_has_passed = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("plg", "netplayground").addoption(
        "--plg-record",
        choices=_MODES,
        default=None,
        help="When a test with the fixture playground is recorded, and not replayed from its dump: never (a "
        "missing dump fails), where it has no dump, where it has none or that of other commands, always. "
        "Default: once; none where CI is set in the environment.",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARK)


@pytest.fixture
def playground(request: pytest.FixtureRequest) -> Iterator[Playground]:
    """The processes that the mark `plg` of the test declares, as a netplayground.Playground: recorded, or
    replayed from the test's dump in the folder `dumps` beside its file."""
    item = request.node
    staged, trouble = _stage(item)
    if staged is None:
        pytest.fail(trouble, pytrace=False)
    item.stash[_staged] = staged
    yield staged.playground
    # Where the test itself was the last to use it, this has been done.
    has_passed = item.stash.get(_has_passed, False)
    diverged = _finish(staged, has_passed)
    if diverged is not None and has_passed:
        pytest.fail(diverged, pytrace=False)


def _stage(item: pytest.Item) -> tuple[Staged | None, str]:
    """The playground of a test, set up; or why there is none."""
    from netplayground.api.staging import Mode, Staged, Wanted
    from netplayground.errors import PlaygroundError

    mark = item.get_closest_marker("plg")
    if mark is None:
        return None, "cannot make a playground: the test has no @pytest.mark.plg('name: command')"
    test = item.nodeid.partition("::")[2].replace("::", ".")
    mode = Mode(_mode(item.config))
    try:
        wanted = Wanted.of(*mark.args, **mark.kwargs)
        staged = Staged(wanted, item.path.parent, item.path.stem, test, mode)
        staged.__enter__()
    except PlaygroundError as error:
        return None, str(error)
    return staged, ""


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, None]:
    """End the playground as a part of the test: a divergence is the test's failure, and stands in its report.

    Where other fixtures use the playground, too, they may have something to say in their tear-down: then it
    ends after them.
    """
    outcome = yield
    staged = item.stash.get(_staged, None)
    if staged is None or staged.is_over:
        return
    has_passed = item.stash[_has_passed] = outcome.excinfo is None
    is_last = not _is_used_by_fixtures(item)
    try:
        diverged = _finish(staged, has_passed) if is_last else staged.diverged_so_far()
    except Exception as error:
        diverged = f"{type(error).__name__}: {error}"
    for title, text in staged.outputs():
        item.add_report_section("call", title, text)
    if diverged is not None and has_passed:
        item.stash[_has_passed] = False
        outcome.force_exception(pytest.fail.Exception(diverged, pytrace=False))
    elif diverged is not None:
        item.add_report_section("call", "replay", diverged)


def _finish(staged: Staged, has_passed: bool) -> str | None:
    """End the playground; in what it diverged."""
    from netplayground.errors import PlaygroundError

    try:
        return staged.finish(has_passed)
    except PlaygroundError as error:
        return str(error)


def _is_used_by_fixtures(item: pytest.Item) -> bool:
    """Whether a fixture of the test asks for the playground."""
    info = getattr(item, "_fixtureinfo", None)
    definitions = info.name2fixturedefs.values() if info is not None else ()
    return any("playground" in each.argnames for found in definitions for each in found)


def _mode(config: pytest.Config) -> str:
    chosen: str | None = config.getoption("--plg-record")
    return chosen or ("none" if os.environ.get("CI") else "once")
