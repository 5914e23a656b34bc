"""A replay that diverged, looked at: real programs, recorded, replayed, and the page of both in Chromium.

Here the browser starts when the runs are over: who looks for what they left behind finds no process of its.
"""

from __future__ import annotations

import json

from journey.browser import Browser, browsing
from journey.runs import Place, plg, record, run

from needs import needs_program, needs_root, needs_tun


def test_the_divergence_of_a_replay_is_shown_in_its_place(place: Place) -> None:
    """Redis recorded, its client replayed saying something else."""
    needs_root()
    needs_tun()
    needs_program("redis-server", "redis-cli")
    serve = "db: redis-server --bind 0.0.0.0 --protected-mode no --save ''"
    ended = record(
        *(place, serve, "app: redis-cli -h db set colour green; redis-cli -h db get colour"),
        options=("--ready", "db", "--until", "app"),
    )
    assert ended.status == 0, ended
    verdict = place.path / "verdict.json"
    words = "app: redis-cli -h db set colour brown; redis-cli -h db get colour"
    assert run(place, plg("--replay", "-f", str(place.dump), "--report", str(verdict), words)).status == 3
    page = place.path / "report.html"
    ended = run(place, plg("report", str(place.dump), "--replay", str(verdict), "-o", str(page)))
    assert ended.status == 0, ended
    with browsing() as browser:
        browser.size(1280, 1000)
        browser.open(page)
        read_divergence(browser)
        told = json.loads(verdict.read_bytes())
        tenths = 1000 * told["bytes_matched"] // told["bytes"]
        assert f"{tenths / 10:g} % of {told['bytes']} bytes as recorded" in browser.text("#replay p")
        assert not browser.complaints


def read_divergence(browser: Browser) -> None:
    assert browser.text("#replay h2") == "The replay diverged in 1 place"
    rows = rows_of_talk(browser)
    assert rows[0].endswith("→ set colour green")
    assert "✗ app, byte 29: said other bytes than recorded" in rows[1]
    assert rows[2].split() == ["expected", "actual"]
    beside = [row.split("│") for row in rows if "│" in row]
    assert "green" in "".join(expected[-9:-1] for expected, _ in beside)
    assert "brown" in "".join(actual[-8:] for _, actual in beside)
    assert browser.run("[...document.querySelectorAll('#talk .differs')].length") > 0
    browser.click("#flows-1")
    assert "get colour" in rows_of_talk(browser)[0]
    browser.click("#replay button")
    assert browser.text("#talk-about").startswith("#0 ")


def rows_of_talk(browser: Browser) -> list[str]:
    """The lines of the conversation, as a person reads them."""
    browser.run("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    rows: list[str] = browser.run(
        "[...document.querySelectorAll('#talk .row')].map((row) => row.innerText.replace(/\\n/g, ' '))"
    )
    return rows
