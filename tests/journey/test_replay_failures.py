"""Failures are played too: who runs meets what it met in the recording, whether its peer is there or not."""

from __future__ import annotations

import json

import pytest
from journey import replays
from journey.replays import Mode, Program
from journey.runs import Place, python, record

from needs import needs_tun

PORT = 7007


def scene(name: str) -> Program:
    """The two programs of a scene; who comes too early asks again."""
    client = f"{python('scenes.py', name, 'client')} 10.0.0.1 {PORT}"
    return Program(python("scenes.py", name, "server", PORT), client, PORT)


def record_scene(place: Place, name: str) -> dict[str, object]:
    """Record it; answers what both said."""
    ended = record(place, *scene(name).commands())
    assert ended.status in (0, 128 + 9), ended
    return said_by(ended.stdout)


def test_a_connect_that_was_never_answered_is_never_answered(place: Place) -> None:
    """The third client of `no_phantom` met silence, and gave up."""
    needs_tun()
    program = scene("no_phantom")
    ended = record(place, *program.commands(), options=("--ready", "server"))
    recorded = said_by(ended.stdout)
    replayed = replays.replay(place, *program.commands(Mode.SERVER_CANNED))
    assert replayed.ended.status == 0, replayed
    assert said_by(replayed.ended.stdout) == {"client": recorded["client"]}, replayed
    assert recorded["client"] == {"third": "gave up", "after": 1.6}


def said_by(stdout: str) -> dict[str, object]:
    said: dict[str, object] = {}
    for line in stdout.splitlines():
        said.update(json.loads(line))
    return said


@pytest.mark.parametrize(
    "name",
    [
        "abort_by_client",
        "abort_by_server",
        "abort_by_unread_bytes",
        "half_close_by_client",
        "half_close_by_server",
        "server_first",
        "urgent",
        "killed",
        "three_at_once",
        "one_shot",
        "port_of_both",
        "refused",
    ],
)
def test_who_runs_meets_what_it_met(place: Place, name: str) -> None:
    needs_tun()
    recorded = record_scene(place, name)
    for mode in Mode:
        replayed = replays.replay(place, *scene(name).commands(mode))
        status = 128 + 9 if name == "killed" and mode.has_client else 0
        assert replayed.ended.status == status, replayed
        assert replayed.report["divergence_count"] == 0, replayed
        live = {"server": mode.has_server, "client": mode.has_client}
        said = {who: what for who, what in recorded.items() if live.get(who, True)}
        assert said_by(replayed.ended.stdout) == said, replayed
