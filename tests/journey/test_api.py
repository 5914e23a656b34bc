"""Playgrounds, recordings and replays from Python: real programs, led by the test itself."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
import time
import traceback
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from journey import leftovers
from journey.ordinary import as_nobody
from journey.runs import Place, python, run, running

import netplayground
from needs import needs_program, needs_root, needs_tun
from netplayground import Playground, Recorded, Replayed, errors
from netplayground.dump.model import Ending

PORT = 7000
UPPER = {"up": python("peers.py", "upper", PORT)}
BOTH = {**UPPER, "mid": python("peers.py", "relay", 8000, "up", PORT)}
LEADER = Path(__file__).with_name("leader.py")


@pytest.fixture(autouse=True)
def nothing_is_left(place: Place) -> Iterator[None]:
    needs_tun()
    leftovers.adopt_orphans()
    before = leftovers.look(place.temporary)
    yield
    left = leftovers.left_since(before, place.temporary, 1.0)
    assert not left, f"left behind: {left}"


def ask(host: str, port: int, words: bytes) -> bytes:
    with socket.create_connection((host, port), timeout=10) as connection:
        connection.sendall(words + b"\n")
        with connection.makefile("rb") as file:
            return file.readline().rstrip(b"\n")


# Processes.


def test_processes_run_when_the_program_says_so_and_the_dump_has_what_was_said(place: Place) -> None:
    with Playground(BOTH, record=place.dump) as playground:
        assert [process.address for process in playground.processes] == ["10.0.0.1", "10.0.0.2"]
        assert playground.start("up", listening=PORT).is_live
        assert playground.start("mid").wait_until_listening() == (8000,)
        with playground.inside():
            assert ask("mid", 8000, b"hello") == b"relayed HELLO"
        first, second = playground.conversations()
        assert (first.client, first.server, first.port) == ("test", "mid", 8000)
        assert (second.client, second.sent, second.received) == ("mid", b"hello\n", b"HELLO\n")
        assert playground.stop("mid").ended_by_plg
        with playground.inside(), pytest.raises(ConnectionRefusedError):
            ask("mid", 8000, b"hello")
    result = playground.result
    assert isinstance(result, Recorded) and (result.status, result.reason) == (0, None)
    assert [process.describe() for process in result.processes] == [
        "ended by plg (killed by SIGTERM)",
        "ended by plg (killed by SIGTERM)",
        "exited 0",
    ]
    assert (result.traffic.connections, result.traffic.refused) == (4, 2)  # over IPv6 and IPv4
    with netplayground.open_dump(place.dump) as dump:
        assert dump.is_complete
        assert [process.name for process in dump.processes] == ["up", "mid", "test"]
        assert dump.processes[2].command == ""  # so that `plg replay --sweep` does not play it
        assert (
            next(each.received for each in dump.conversations(server="mid", port=8000)) == b"relayed HELLO\n"
        )


def test_who_ends_before_it_listens_is_told_at_once_with_its_last_words(place: Place) -> None:
    command = "echo no such disk >&2; exit 7"
    with Playground({"db": command}) as playground:
        began = time.monotonic()
        with pytest.raises(errors.ProcessEndedError, match="exited 7 before it listened on port 5432") as met:
            playground.start("db", listening=5432, timeout=60)
        assert time.monotonic() - began < 30
        assert (met.value.process, met.value.status, met.value.stderr) == ("db", 7, "no such disk\n")
        assert "no such disk" in str(met.value)
    assert playground.result is not None and playground.result.processes[0].describe() == "exited 7"


def test_a_command_that_is_not_there_is_told_likewise() -> None:
    with Playground({"db": "no-such-program"}) as playground:
        with pytest.raises(errors.ProcessEndedError, match="not found") as met:
            playground.start("db", listening=True)
        assert met.value.status == 127


def test_a_wait_ends_after_its_time_and_the_playground_goes_on() -> None:
    with Playground(UPPER | {"idle": "echo I am idle; sleep 1000"}) as playground:
        with pytest.raises(errors.WaitTimeoutError, match="listens on port 1") as met:
            playground.start("idle", listening=1, timeout=0.3)
        assert isinstance(met.value, TimeoutError) and "I am idle" in str(met.value)
        with pytest.raises(errors.WaitTimeoutError):
            playground["idle"].wait(timeout=0.1)
        assert playground.start("up", listening=True).stop().signal == signal.SIGTERM


def test_output_is_read_while_a_process_runs_and_after() -> None:
    commands = {"talker": "echo one; echo two > /dev/stdout; echo three >&2; exit 4"}
    with Playground(commands) as playground:
        talker = playground.start("talker")
        assert talker.wait(timeout=30).exit_code == 4
        assert (talker.stdout, talker.stderr) == ("one\ntwo\n", "three\n")
    assert talker.stdout == "one\ntwo\n"
    assert playground.result is not None and playground.result.output["talker"].stderr == "three\n"


def test_signals_reach_a_process() -> None:
    commands = {"it": "trap 'echo again' HUP; trap 'exit 9' USR1; echo on; while :; do sleep 0.02; done"}
    with Playground(commands) as playground:
        it = playground.start("it")
        await_until(lambda: it.stdout == "on\n")
        it.signal("HUP")
        await_until(lambda: "again" in it.stdout)
        it.signal(signal.SIGUSR1)
        assert it.wait(timeout=30).exit_code == 9


def await_until(holds: object) -> None:
    assert callable(holds)
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_words_that_cannot_be_are_refused() -> None:
    with Playground(UPPER) as playground:
        playground.start("up")
        with pytest.raises(
            errors.PlaygroundError, match="cannot start up: it has been started or stopped before"
        ):
            playground.start("up")
        with pytest.raises(errors.UsageError, match="cannot find process down: there is up"):
            playground.start("down")
        with pytest.raises(errors.PlaygroundOverError, match="twice"):
            playground.__enter__()
    with pytest.raises(errors.PlaygroundOverError):
        playground.run("true")
    for wrong in ({"test": "true"}, {"a b": "true"}, {"a": " "}, {"localhost": "true"}, ["a: true", "true"]):
        with pytest.raises(errors.UsageError), Playground(wrong):
            pytest.fail("it stands")
    with pytest.raises(errors.UsageError, match="no command is declared for it"):
        Playground(UPPER, replay="x", live=["down"])


def test_a_dump_that_cannot_be_written_or_read_is_said_before_anything_runs(place: Place) -> None:
    with pytest.raises(errors.DumpError, match="No such file"), Playground(UPPER, record=place.path / "a/b"):
        pytest.fail("it stands")
    with pytest.raises(errors.DumpError, match="No such file"), Playground(UPPER, replay=place.path / "a"):
        pytest.fail("it stands")
    nothing = place.file("nothing", b"not a dump at all")
    with pytest.raises(errors.NotADumpError), Playground(UPPER, replay=nothing):
        pytest.fail("it stands")
    assert not place.dump.exists()


# The program's own part.


def test_sockets_of_python_are_inside_and_know_the_names(place: Place) -> None:
    with Playground(UPPER, record=place.dump) as playground:
        up = playground.start("up", listening=PORT)
        with playground.inside():
            assert ask("up", PORT, b"a") == ask("UP.", PORT, b"a") == ask(up.address, PORT, b"a") == b"A"
            with socket.socket() as bare:  # its connect() is C's, and would ask the machine for the name
                bare.connect(("up", PORT))
                bare.sendall(b"b\n")
                assert bare.recv(10) == b"B\n"
                assert bare.getsockname()[0] == "10.0.0.2"
            with socket.socket(socket.AF_INET6) as six:
                assert six.connect_ex(("up", PORT)) == 0
                assert six.getpeername()[0] == up.addresses[1]
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
                here.bind(("test", 0))
                here.settimeout(10)
                here.sendto(b"datagram", ("up", PORT))
                assert here.recv(100) == b"DATAGRAM"
            assert socket.gethostbyname("up") == "10.0.0.1"
            assert socket.gethostbyaddr("10.0.0.1")[0] == "up"
            with pytest.raises(socket.gaierror):
                socket.create_connection(("example.org", 80))
            with pytest.raises(OSError, match="No route to host"):
                socket.create_connection(("192.0.2.1", 80), timeout=10)
        with pytest.raises(socket.gaierror):
            socket.getaddrinfo("up", PORT, flags=socket.AI_NUMERICHOST)
    assert "connect" not in vars(socket.socket) and socket.getaddrinfo.__module__ == "socket"
    with netplayground.open_dump(place.dump) as dump:
        assert [each.data for each in dump.datagrams()] == [b"datagram", b"DATAGRAM"]


def test_libraries_of_python_work_inside(place: Place) -> None:
    place.file("page.txt", "a page")
    web = f"exec {sys.executable} -m http.server 80"
    with Playground({"web": web}, folder=place.path) as playground:
        playground.start("web", listening=80)
        with playground.inside():
            with urllib.request.urlopen("http://web/page.txt", timeout=10) as answer:
                assert answer.read() == b"a page"
            assert asyncio.run(fetch("web", 80)).startswith(b"HTTP/1.0 200")
            with ThreadPoolExecutor(4) as pool:
                pages = list(
                    pool.map(lambda _: urllib.request.urlopen("http://web/page.txt").read(), range(8))
                )
            assert pages == [b"a page"] * 8
        assert len(playground.conversations(client="test", server="web")) == 10


async def fetch(host: str, port: int) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"GET /page.txt HTTP/1.0\r\n\r\n")
    said = await reader.read()
    writer.close()
    await writer.wait_closed()
    return said


def test_a_thread_may_be_outside_and_loopback_is_the_playgrounds_own() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with Playground() as playground, playground.inside():
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port))
            with playground.outside():
                socket.create_connection(("localhost", port)).close()
        socket.create_connection(("127.0.0.1", port)).close()


def test_what_was_said_without_a_dump_of_a_name_is_read_after_the_end_too() -> None:
    with Playground(UPPER) as playground:
        playground.start("up", listening=PORT)
        with playground.inside():
            ask("up", PORT, b"x")
    assert [each.received for each in playground.conversations()] == [b"X\n"]
    with playground.dump() as dump:
        assert dump.is_complete


def test_two_playgrounds_at_once_are_apart() -> None:
    with Playground(UPPER) as first, Playground({"up": BOTH["up"], "low": "sleep 1000"}) as second:
        first.start("up", listening=PORT)
        with first.inside():
            assert ask("up", PORT, b"x") == b"X"
            with second.inside():
                with pytest.raises(ConnectionRefusedError):
                    ask("up", PORT, b"x")
                assert socket.gethostbyname("low") == "10.0.0.2"
            assert ask("up", PORT, b"y") == b"Y"
        said: list[bytes] = []
        entered = threading.Event()

        def in_a_thread_of_its_own() -> None:
            with first.inside():
                entered.wait(30)
                said.append(ask("up", PORT, b"z"))

        thread = threading.Thread(target=in_a_thread_of_its_own)
        thread.start()
        with second.inside():
            entered.set()
            thread.join(30)
        assert said == [b"Z"]
        assert (len(first.conversations()), len(second.conversations())) == (3, 0)


def test_commands_run_in_the_seat(place: Place) -> None:
    with Playground(UPPER, folder=place.path, environment={"COLOUR": "red"}) as playground:
        playground.start("up", listening=PORT)
        said = playground.run(
            "hostname; echo $PLG_NAME $PLG_ADDR_UP $COLOUR; pwd; cat; echo no >&2; exit 5", input="in"
        )
        assert said.returncode == 5
        assert said.stdout == f"test\ntest 10.0.0.1 red\n{place.path}\nin"
        assert said.stderr == "no\n"
        large = playground.run(["cat"], input=b"x" * 1_000_000, check=True)
        assert len(large.stdout) == 1_000_000
        assert playground.run("kill -9 $$").returncode == -9
        with pytest.raises(errors.WaitTimeoutError):
            playground.run("sleep 1000 & sleep 1000", timeout=0.2)
        with ThreadPoolExecutor(8) as pool:
            answers = pool.map(lambda n: playground.run(f"echo {n}").stdout, range(40))
        assert list(answers) == [f"{n}\n" for n in range(40)]


def test_functions_are_called_in_the_seat() -> None:
    with Playground(UPPER) as playground:
        playground.start("up", listening=PORT)
        # The C library resolves the name here, from /etc/hosts.
        assert playground.call(ask, "up", PORT, b"called") == b"CALLED"
        assert playground.call(socket.gethostname) == "test"
        assert playground.call(os.getcwd) == os.getcwd()
        with playground.inside():
            assert playground.call(ask, "up", PORT, b"from inside") == b"FROM INSIDE"
        local = "a variable of the test"
        assert playground.call(lambda: local.upper()) == "A VARIABLE OF THE TEST"
        assert playground.call(lambda: Path("/proc/self/status").exists())


def test_what_goes_wrong_in_a_called_function_comes_back() -> None:
    def wrong() -> None:
        raise KeyError("where it was raised")

    with Playground() as playground:
        with pytest.raises(KeyError, match="where it was raised") as met:
            playground.call(wrong)
        assert "in wrong" in "".join(traceback.format_exception(met.value))
        with pytest.raises(errors.CallError, match="said so"):
            playground.call(pytest.fail, "said so")  # which pickle cannot find by its name
        with pytest.raises(errors.CallError, match="was killed by SIGKILL"):
            playground.call(lambda: os.kill(os.getpid(), signal.SIGKILL))
        with pytest.raises(errors.CallError, match="exited with status 3"):
            playground.call(os._exit, 3)
        with pytest.raises(errors.CallError, match="its result cannot be pickled"):
            playground.call(lambda: lambda: None)
        with pytest.raises(errors.WaitTimeoutError, match=r"within 0\.2 s"):
            playground.call(time.sleep, 1000, timeout=0.2)


def test_a_fork_of_the_program_does_not_lead_the_playground() -> None:
    with Playground(UPPER) as playground:

        def lead() -> str:
            with pytest.raises(errors.PlaygroundOverError) as met:
                playground.start("up")
            return str(met.value)

        assert "fork" in playground.call(lead)
        assert playground.start("up", listening=True).is_live


# How it ends.


def test_an_exception_ends_the_run_in_order(place: Place) -> None:
    with pytest.raises(ZeroDivisionError), Playground(UPPER, record=place.dump) as playground:
        playground.start("up", listening=PORT)
        with playground.inside():
            ask("up", PORT, b"before")
            raise ZeroDivisionError
    with netplayground.open_dump(place.dump) as dump:
        assert dump.is_complete and [each.sent for each in dump.conversations()] == [b"before\n"]


def test_a_timeout_ends_the_run_and_says_so() -> None:
    playground = Playground({"idle": "sleep 1000"}, timeout=0.5)
    with pytest.raises(errors.RunFailedError, match=r"timed out after 0\.5 s"), playground:
        assert playground.start("idle").wait().ended_by_plg
    assert playground.result is not None and playground.result.status == 124
    with pytest.raises(errors.PlaygroundOverError), Playground(timeout=0.2) as again:
        again.run("sleep 1000")


def test_sockets_that_the_program_still_holds_do_not_keep_the_end_waiting(place: Place) -> None:
    with Playground(UPPER, record=place.dump) as playground:
        playground.start("up", listening=PORT)
        with playground.inside():
            held = socket.create_connection(("up", PORT))
            held.sendall(b"held\n")
            assert held.recv(10) == b"HELD\n"
    assert held.recv(10) == b""
    held.close()
    with netplayground.open_dump(place.dump) as dump:
        assert [connection.ending for connection in dump.connections] == [Ending.CLOSED]


@pytest.mark.parametrize(
    "how",
    ["killed", "killed-with-a-fork", "killed-in-a-call", "killed-in-a-command", "ended", "left-open"],
)
def test_nothing_outlives_the_program(place: Place, how: str) -> None:
    with running(place, [sys.executable, str(LEADER), how, str(place.dump)]) as leader:
        await_until(lambda: b"ready\n" in (place.path / "0.stdout").read_bytes())
        if how.startswith("killed"):
            leader.process.kill()
        status = leader.process.wait(30)
    assert status == (-signal.SIGKILL if how.startswith("killed") else 0)
    with netplayground.open_dump(place.dump) as dump:
        assert [each.received for each in dump.conversations()] == [b"HELLO\n"]
        assert dump.is_complete


def test_an_interrupt_ends_a_recording_in_order(place: Place) -> None:
    with running(place, [sys.executable, str(LEADER), "record", str(place.dump)]) as leader:
        await_until(place.dump.exists)
        leader.process.send_signal(signal.SIGINT)
        assert leader.process.wait(30) != 0
    with netplayground.open_dump(place.dump) as dump:
        assert dump.is_complete


def test_an_ordinary_user_leads_a_playground_likewise(place: Place) -> None:
    ended = run(place, [*as_nobody(place), sys.executable, str(LEADER), "all", str(place.dump)])
    assert ended.status == 0, ended
    assert ended.stdout.endswith("all is well\n"), ended


def test_an_ordinary_users_playground_does_not_outlive_him_either(place: Place) -> None:
    with running(
        place, [*as_nobody(place), sys.executable, str(LEADER), "killed", str(place.dump)]
    ) as leader:
        await_until(lambda: b"ready\n" in (place.path / "0.stdout").read_bytes())
        leader.process.kill()
        leader.process.wait(30)


def test_what_this_machine_lacks_is_said(place: Place) -> None:
    needs_root()
    user = as_nobody(place, mode="600")
    ended = run(place, [*user, sys.executable, str(LEADER), "all", str(place.dump)])
    assert ended.status == 1
    assert "netplayground.errors.SandboxError: " in ended.stderr and "/dev/net/tun" in ended.last_line
    assert not place.dump.exists()


def test_commands_run_as_another_user_where_root_says_so() -> None:
    needs_root()
    with Playground({"who": "id -u"}, uid=65534) as playground:
        assert playground.start("who").wait(timeout=30).exit_code == 0
        assert playground["who"].stdout == "65534\n"
        assert playground.run("id -u").stdout == "65534\n"


# Replays.


def record_both(place: Place) -> None:
    with Playground(BOTH, record=place.dump) as playground:
        play(playground)


def play(playground: Playground, words: bytes = b"hello") -> bytes:
    playground.start("up", listening=PORT)
    playground.start("mid", listening=8000)
    return play_on(playground, words)


@pytest.mark.parametrize(
    "live", [(), ("up",), ("mid",), ("up", "mid")], ids=lambda live: "+".join(live) or "none"
)
def test_a_program_is_answered_from_the_dump_whoever_is_live(place: Place, live: tuple[str, ...]) -> None:
    record_both(place)
    with Playground(BOTH, replay=place.dump, live=live) as playground:
        assert [process.name for process in playground.processes if process.is_live] == list(live)
        assert play(playground) == b"relayed HELLOCALLED"
        assert len(playground.conversations(client="test")) == 2
    result = playground.result
    assert isinstance(result, Replayed) and result.verdict.is_over
    assert (result.status, result.verdict.divergence_count) == (0, 0)
    assert result.verdict.connections_matched == result.verdict.connections


def test_what_the_program_says_otherwise_is_a_divergence(place: Place) -> None:
    record_both(place)
    with pytest.raises(errors.DivergedError) as met, Playground(BOTH, replay=place.dump) as playground:
        play(playground, b"help!")
    assert "test, connection 0 test -> mid:8000, byte 3" in str(met.value)
    assert "hello." in str(met.value) and "help!." in str(met.value)
    result = met.value.result
    assert isinstance(result, Replayed) and result.status == 3
    first = result.verdict.first
    assert first is not None and (first.expected, first.actual) == (b"hello\n", b"help!\n")
    with Playground(BOTH, replay=place.dump, check=False) as playground:
        play(playground, b"help!")
    assert isinstance(playground.result, Replayed) and playground.result.has_diverged
    with Playground(BOTH, replay=place.dump, ignore=["hel.+"]) as playground:
        play(playground, b"help!")


def test_one_rule_or_one_name_need_not_stand_in_a_list(place: Place) -> None:
    """Its letters are no rules of their own: a dot would hide whatever differs."""
    record_both(place)
    with pytest.raises(errors.DivergedError), Playground(BOTH, replay=place.dump, ignore="x.y") as playground:
        play(playground, b"help!")
    with Playground(BOTH, replay=place.dump, ignore="hel.+", live="up") as playground:
        play(playground, b"help!")
    assert playground.live == ("up",)


def test_what_the_program_does_not_say_any_more_is_a_divergence(place: Place) -> None:
    record_both(place)
    with pytest.raises(errors.DivergedError, match="never opened it"), Playground(BOTH, replay=place.dump):
        pass


def test_a_failure_of_the_program_is_its_own_and_has_the_divergence_as_a_note(place: Place) -> None:
    record_both(place)
    with pytest.raises(ZeroDivisionError) as met, Playground(BOTH, replay=place.dump) as playground:
        play(playground, b"help!")
        raise ZeroDivisionError
    if sys.version_info >= (3, 11):
        assert "byte 3: said other bytes than recorded" in "\n".join(met.value.__notes__)


def test_the_program_plays_any_process_of_a_dump(place: Place) -> None:
    client = python("peers.py", "ask", PORT, "up", "hello")
    netplayground.record(place.dump, UPPER | {"client": client}, ready=["up"], until=["client"])
    with Playground(replay=place.dump, seat="client") as playground:
        assert [process.name for process in playground.processes] == ["up"]
        with playground.inside():
            assert ask("up", PORT, b"hello") == b"HELLO"


def test_a_process_that_the_recording_does_not_have_is_refused(place: Place) -> None:
    record_both(place)
    with (
        pytest.raises(errors.UsageError, match="cannot replay down: no such process in the recording"),
        Playground({"down": "true"}, replay=place.dump),
    ):
        pytest.fail("it stands")


def compute(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def test_a_replay_waits_while_the_program_computes_and_not_while_it_idles(place: Place) -> None:
    record_both(place)
    with Playground(BOTH, replay=place.dump, stall=0.5) as playground:
        playground.start()
        compute(1.5)  # in this program itself
        playground.call(compute, 1.5)  # and in a fork that is in the seat
        assert play_on(playground) == b"relayed HELLOCALLED"
    idle = Playground(BOTH, replay=place.dump, stall=0.5)
    with pytest.raises(errors.DivergedError, match=r"did not for 0\.5 s"), idle:
        time.sleep(3)


def play_on(playground: Playground, words: bytes = b"hello") -> bytes:
    with playground.inside():
        said = ask("mid", 8000, words)
    return said + playground.call(ask, "up", PORT, b"called")


# Whole runs.


def test_a_recording_and_its_replay_are_values(place: Place) -> None:
    needs_program("redis-server", "redis-cli")
    db = "redis-server --bind 0.0.0.0 --protected-mode no --save ''"
    commands = {"db": db, "test": "redis-cli -h db ping"}
    recorded = netplayground.record(
        place.dump, commands, ready=["db:6379"], until=["test"], capture_output=True, folder=place.path
    ).require_success()
    assert (recorded.status, recorded.traffic.connections, recorded.dump) == (0, 1, place.dump)
    assert recorded.traffic.bytes_to_server == 14 and recorded.traffic.bytes_to_client == 7
    assert recorded.output["test"].stdout == "PONG\n" and "Ready to accept" in recorded.output["db"].stdout
    assert [process.exit_code for process in recorded.processes] == [None, 0]

    replayed = netplayground.replay(
        place.dump, {"test": commands["test"]}, capture_output=True
    ).require_clean()
    assert replayed.output["test"].stdout == "PONG\n"
    assert (replayed.verdict.connections_matched, replayed.verdict.bytes) == (1, 21)
    other = netplayground.replay(place.dump, ["-", "redis-cli -h 10.0.0.1 echo x"], speed="max")
    assert other.status == 3
    with pytest.raises(errors.DivergedError):
        other.require_clean()


def test_a_run_that_fails_or_cannot_be_is_told_apart(place: Place) -> None:
    failed = netplayground.record(place.dump, ["exit 3", "true"])
    assert (failed.status, failed.reason) == (3, "p1 exited 3")
    with pytest.raises(errors.RunFailedError, match="p1 exited 3") as met:
        failed.require_success()
    assert (met.value.exit_status, met.value.result) == (3, failed)
    assert netplayground.record(place.dump, ["sleep 1000"], timeout=0.3).status == 124
    with pytest.raises(errors.UsageError, match="cannot use --until nobody"):
        netplayground.record(place.dump, ["true"], until=["nobody"])
    with pytest.raises(errors.UsageError, match="cannot replay 0 commands"):
        netplayground.replay(place.dump, [])
    with pytest.raises(errors.DumpError):
        netplayground.replay(place.path / "nothing", ["true"])
