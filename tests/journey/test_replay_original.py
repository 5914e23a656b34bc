"""A dump of the original program is replayed as one of ours."""

from __future__ import annotations

from journey.replays import assert_as_recorded, replay
from journey.runs import Place

from needs import needs_program, needs_tun

PAGES = {
    "index.html": (200, b"<p>hello</p>\n"),
    "numbers.txt": (200, b"".join(b"%d\n" % number for number in range(2000))),
    "missing": (404, b"no such page\n"),
}


def original(pages: dict[str, tuple[int, bytes]]) -> bytes:
    """`TIME LENGTH CLIENT SERVER PORT DIRECTION` and the bytes, again and again; no bytes: shut down."""
    dump = b""
    time_us = 1_700_000_000_000_000
    for name, (status, body) in pages.items():
        request = b"GET /%s HTTP/1.1\r\nHost: 10.0.0.1:8080\r\nUser-Agent: test\r\nAccept: */*\r\n\r\n"
        head = b"HTTP/1.0 %d Found\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
        says = [(0, request % name.encode()), (1, head), (1, body), (1, b""), (0, b"")]
        for direction, payload in says:
            time_us += 700
            dump += b"%d %d 10.0.0.2 10.0.0.1 8080 %d\n" % (time_us, len(payload), direction) + payload
    return dump


def test_a_client_gets_what_the_original_recorded(place: Place) -> None:
    needs_tun()
    needs_program("curl")
    place.dump.write_bytes(original(PAGES))
    asks = "; ".join(f"curl -sS -A test http://10.0.0.1:8080/{name}" for name in PAGES)
    replayed = replay(place, "-", asks)
    assert_as_recorded(replayed)
    assert replayed.report["connections"] == 3
    assert replayed.ended.stdout.encode() == b"".join(body for _, body in PAGES.values())
