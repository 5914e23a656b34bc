"""A recording is redacted, and replayed with the process that says the secret."""

from __future__ import annotations

from journey.runs import Place, plg, record, run

from needs import needs_tun

_SERVER = """
import socket
datagrams = socket.socket(type=socket.SOCK_DGRAM)
datagrams.bind(("0.0.0.0", 5001))
listener = socket.create_server(("0.0.0.0", 5000))
talk, _ = listener.accept()
assert talk.recv(100).startswith(b"password=")
talk.sendall(b"welcome")
question, sender = datagrams.recvfrom(100)
datagrams.sendto(b"fine", sender)
talk.recv(1)
"""
_CLIENT = """
import socket, sys
talk = socket.create_connection(("server", 5000))
talk.sendall(f"password={sys.argv[1]}&x=1".encode())
assert talk.recv(100) == b"welcome"
ask = socket.socket(type=socket.SOCK_DGRAM)
ask.sendto(f"token {sys.argv[1]}".encode(), ("server", 5001))
assert ask.recv(100) == b"fine"
"""


def test_a_redacted_dump_is_replayed_whatever_the_secret_is_now(place: Place) -> None:
    needs_tun()
    server = f"server: exec python3 {place.file('server.py', _SERVER)}"
    client = f"client: exec python3 {place.file('client.py', _CLIENT)} "
    recorded = record(place, server, client + "hunter2", options=["--ready", "server"])
    assert recorded.status == 0, recorded
    clean = place.path / "clean.traffic"
    redacted = run(place, plg("redact", str(place.dump), "-o", str(clean), "--pattern", "hunter2"))
    assert redacted.status == 0 and "2 places replaced, 1 command changed" in redacted.stderr, redacted
    assert b"hunter2" in place.dump.read_bytes() and b"hunter2" not in clean.read_bytes()
    assert run(place, plg("check", str(clean))).status == 0
    for secret, status in (("hunter2", 0), ("another", 0), ("shorter", 0), ("hunter22", 3)):
        options = ["-f", str(clean), "--udp", "strict", "--stall", "1", "--timeout", "20"]
        replayed = run(place, plg("--replay", *options, client + secret))
        assert replayed.status == status, (secret, replayed)
    assert run(place, plg("--replay", "-f", str(place.dump), client + "another")).status == 3
