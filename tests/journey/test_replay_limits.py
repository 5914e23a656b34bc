"""What cannot be canned: who answers with the asker's nonce. It ends soon, status 3, at the true place."""

from __future__ import annotations

import subprocess

from journey.programs import SERVER, Cluster, nginx
from journey.replays import DIVERGED, Mode, Program, Replayed, record_program, replay_program
from journey.runs import Place, python

from needs import needs_program, needs_root, needs_tun

STALL_S = 2.0
PORT = 7200


def server_canned(place: Place, program: Program) -> Replayed:
    """Recorded, then replayed with the server canned: it diverges, and does not take long to say so."""
    recorded = record_program(place, program)
    replayed = replay_program(place, program, Mode.SERVER_CANNED, ("--stall", str(STALL_S)))
    assert replayed.ended.status == DIVERGED, replayed
    # What plg itself takes for start and end is in both.
    assert replayed.ended.seconds < recorded.seconds + STALL_S + 2, replayed
    assert replayed.first["process"] == "client", replayed
    return replayed


def test_websocket(place: Place) -> None:
    needs_tun()
    server = python("clients.py", "websocket-serve", PORT)
    program = Program(server, python("clients.py", "websocket", SERVER, PORT), PORT)
    first = server_canned(place, program).first
    expected = bytes.fromhex(first["expected"])
    assert first["kind"] == "different"
    assert b"Key: " in expected[: first["offset"] - first["window"]], expected


def test_tls(place: Place) -> None:
    needs_tun()
    needs_program("openssl", "curl")
    key, certificate = place.path / "key.pem", place.path / "certificate.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=server"]
    made = subprocess.run([*words, "-keyout", str(key), "-out", str(certificate)], capture_output=True)
    assert made.returncode == 0, made.stderr
    server = f"exec openssl s_server -quiet -www -accept {PORT} -key {key} -cert {certificate}"
    client = f"exec curl -sS --insecure -o {place.path}/page https://{SERVER}:{PORT}/"
    first = server_canned(place, Program(server, client, PORT)).first
    # RFC 8446, 4.1.2: five octets of record header, four of handshake header, two of version, the random.
    assert first["kind"] == "different"
    assert 11 <= first["offset"] < 11 + 32


def test_scram(place: Place) -> None:
    needs_tun()
    cluster = Cluster(place, rules="host all all all scram-sha-256")
    program = cluster.program(f"PGPASSWORD=secret psql -h {SERVER} -U postgres -At -c 'select 1' postgres")
    first = server_canned(place, program).first
    expected = bytes.fromhex(first["expected"])
    # RFC 5802, 7: client-first-message "n,,n=,r=" nonce.
    assert first["kind"] == "different"
    assert b"n,,n=,r=" in expected[: first["offset"] - first["window"]], expected


def test_iperf3(place: Place) -> None:
    needs_tun()
    needs_program("iperf3")
    program = Program("exec iperf3 -s > /dev/null", f"exec iperf3 -c {SERVER} -n 2M > /dev/null", 5201)
    first = server_canned(place, program).first
    # The control connection begins with a cookie of 37 octets.
    assert (first["kind"], first["record"]) == ("different", 0)
    assert first["offset"] < 37


def test_wrk(place: Place) -> None:
    needs_root()
    needs_tun()
    needs_program("wrk")
    client = f"exec wrk -t 1 -c 4 -d 1 http://{SERVER}:8080/f0 > /dev/null"
    first = server_canned(place, Program(nginx(place, 1, 1000), client, 8080)).first
    assert first["kind"] in ("missing", "extra", "stalled"), first
