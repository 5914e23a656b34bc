"""What a process may do to the router: too much of what is proper, and all that is not."""

from __future__ import annotations

import json
import re

import pytest
from journey.dumps import assert_whole
from journey.runs import Place, plg, python, record, run, running

from needs import needs_root, needs_tun
from netplayground.dump.reader import open_dump

PEER = "10.0.0.1"
PORT = 7007


def test_of_a_flood_everything_is_recorded_or_counted(place: Place) -> None:
    needs_tun()
    count = 100_000
    ended = record(
        place,
        "db: sleep 60",
        f"app: {python('noise.py', 'flood', PEER, PORT, count)}",
        options=("--until", "app"),
    )
    with open_dump(place.dump) as dump:
        recorded = sum(1 for each in dump.datagrams() if each.sender == "app" and each.is_udp)
        [drops] = [fact for fact in dump.facts() if fact.kind == "drops"]
    processes = drops.fields["processes"]
    assert isinstance(processes, dict)
    lost = processes["app"].get("in a full queue", 0)
    assert json.loads(ended.stdout) == {"sent": count}
    assert recorded + lost == count
    assert processes["db"].get("in a full queue", 0) == 0
    if lost:
        assert re.search(rf"dropped \(app: {lost:,} in a full queue", ended.stderr), ended
    assert_whole(place, place.dump)


@pytest.mark.parametrize("seed", range(3))
def test_no_noise_harms_the_router_or_reaches_a_program(place: Place, seed: int) -> None:
    needs_root()
    needs_tun()
    ended = record(
        place,
        python("noise.py", "hear", PORT),
        f"sleep 0.5; {python('noise.py', 'shout', PEER, seed, 5000)}",
        options=("--until", "p1"),
    )
    assert ended.status == 0, ended
    heard = json.loads(ended.stdout)["heard"]
    with open_dump(place.dump) as dump:
        said = [dump.payload(each) for each in dump.datagrams() if each.is_udp and each.sender == "p2"]
        [drops] = [fact for fact in dump.facts() if fact.kind == "drops"]
    # What reached the program was proper after all: it is in the dump, in its order.
    rest = iter(said)
    assert all(bytes.fromhex(each) in rest for each in heard)
    processes = drops.fields["processes"]
    assert isinstance(processes, dict)
    assert processes["p2"]["malformed"] > 500
    assert processes["p2"]["with a foreign source"] > 500
    assert_whole(place, place.dump)
    shown = run(place, plg("show", "--datagrams", "--json", str(place.dump)))
    assert shown.status == 0 and json.loads(shown.stdout)["datagrams_in_all"] > 0


def test_what_was_heard_is_in_the_dump_of_a_plg_that_was_killed(place: Place) -> None:
    needs_tun()
    heard = place.path / "heard"
    listener = f"exec socat -u UDP-RECV:{PORT} CREATE:{heard}"
    sender = python("noise.py", "flood", PEER, PORT, 10_000_000)
    words = plg("--record", "-f", str(place.dump), listener, f"sleep 0.3; {sender}")
    with running(place, words) as started:
        while not heard.exists() or heard.stat().st_size < 40_000:
            assert started.process.poll() is None
        started.process.kill()
        started.process.wait()
    data = heard.read_bytes()
    with open_dump(place.dump) as dump:
        recorded = {dump.payload(each) for each in dump.datagrams() if each.is_udp}
    assert {data[at : at + 4] for at in range(0, len(data), 4)} <= recorded
