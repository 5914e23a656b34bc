"""A Procfile and its `.env`, recorded and replayed with real programs."""

from __future__ import annotations

from journey.runs import Place, plg, run

from needs import needs_tun

_SERVER = """
import os, socket
listener = socket.create_server(("0.0.0.0", int(os.environ["PORT"])))
talk, _ = listener.accept()
talk.sendall(os.environ["GREETING"].encode())
talk.shutdown(socket.SHUT_WR)
talk.recv(1)
"""
_CLIENT = """
import os, socket
talk = socket.create_connection(("web", int(os.environ["PORT"])))
print(talk.makefile().read(), end="")
"""


def test_a_procfile_is_recorded_and_replayed_with_one_side_canned(place: Place) -> None:
    needs_tun()
    place.file("server.py", _SERVER)
    place.file("client.py", _CLIENT)
    place.file("Procfile", "# two\nweb: exec python3 server.py\n\nuser: exec python3 client.py > heard\n")
    place.file(".env", "GREETING='hello, procfile'\n")
    words = ["-f", str(place.dump), "--procfile", "Procfile", "--timeout", "30"]
    recorded = run(place, plg("--record", *words, "--ready", "web"))
    assert recorded.status == 0, recorded
    assert (place.path / "heard").read_text() == "hello, procfile"
    (place.path / "heard").unlink()
    replayed = run(place, plg("--replay", *words, "web: -"))
    assert replayed.status == 0, replayed
    assert (place.path / "heard").read_text() == "hello, procfile"
