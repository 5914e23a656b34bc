"""The page of `plg report` in a headless Chromium, as a person uses it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from dump import making
from dump.making import opened, say, writing
from journey.browser import Browser, browsing
from report.talks import every_protocol, many_chunks, talk

from netplayground.cli.main import main
from netplayground.dump.model import CLIENT, SERVER, Process
from netplayground.packet import udp
from netplayground.replay.verdict import Divergence, DivergenceKind, Verdict

DB, APP = (each.addresses[0].packed for each in making.RUN.processes)
HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=document.title='taken'><!--"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browsing() as opened_one:
        yield opened_one


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    chromium.size(1280, 1000)
    chromium.complaints.clear()
    chromium.requests.clear()
    yield chromium
    assert not chromium.complaints
    assert all(address.startswith("file:///") for address in chromium.requests)


def look(browser: Browser, dump: Path, *words: str) -> None:
    page = dump.with_name("report.html")
    assert main(["report", str(dump), "-o", str(page), *words]) == 0
    browser.open(page)


def shown(browser: Browser, box: str) -> list[str]:
    """The rows of a list that are in sight, as a person reads them."""
    browser.run("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    rows: list[str] = browser.run(
        f"[...document.querySelectorAll('#{box} .row')].map((row) => row.innerText.replace(/\\n/g, ' '))"
    )
    return rows


def test_a_connection_is_chosen_and_read_as_requests_text_and_hex(browser: Browser, tmp_path: Path) -> None:
    look(browser, every_protocol(tmp_path / "dump"))
    assert browser.text("#found") == "4 conversations, 34 events"
    assert "2 processes, 3 connections, 4 datagrams, " in browser.text("#summary")
    assert "→ POST /a?b=1 HTTP/1.1" in shown(browser, "talk")[0]
    browser.click("#flows-1")
    assert browser.text("#talk-about").startswith("#1 app:40000 → db:6379 · ")
    assert "→ GET colour" in shown(browser, "talk")[0]
    browser.click("#mode-text")
    assert shown(browser, "talk")[2:6] == [
        *("0.000011  app:40000 → db:6379  35 bytes", "*2", "$3", "GET"),
    ]
    browser.click("#mode-hex")
    assert "00000000  2a 32 0d 0a 24 33 0d 0a" in shown(browser, "talk")[3]
    browser.click("#flows-0")  # how it is shown stays as it was chosen
    assert "00000000  50 4f 53 54" in shown(browser, "talk")[3]


def test_what_is_searched_for_is_found_in_names_and_bytes_across_chunks(
    browser: Browser, tmp_path: Path
) -> None:
    with writing(tmp_path / "dump") as writer:
        talk(writer, [(CLIENT, b"the nee"), (SERVER, b"..."), (CLIENT, b"dle, \x00\xff")], 80)
        talk(writer, [(CLIENT, b"hay" * 100)], 443, client_port=40001)
    look(browser, tmp_path / "dump")
    for words, found in [
        ("Needle", "1 of 2 conversations, 1 of 12 events"),
        ("hex: 00 ff", "1 of 2 conversations, 1 of 12 events"),
        ("app:40001", "1 of 2 conversations, 5 of 12 events"),
        ("nowhere", "0 of 2 conversations, 0 of 12 events"),
    ]:
        browser.click("#search")
        browser.type(words)
        assert browser.text("#found") == found
        browser.click("#clear")
    assert browser.text("#found") == "2 conversations, 12 events"


def test_a_part_of_the_time_is_chosen_with_the_mouse_and_with_keys(browser: Browser, tmp_path: Path) -> None:
    look(browser, many_chunks(tmp_path / "dump", 1000, connections=10))
    whole = browser.text("#found")
    browser.drag("#timeline-chart .u-over", (0.4, 0.5), (0.6, 0.5))
    browser.wait("plg.state.range !== null")
    part = browser.run("plg.view().events.length")
    assert 150 < part < 260
    browser.run("document.getElementById('timeline-chart').focus()")
    browser.press("+")
    assert 0 < browser.run("plg.view().events.length") < 0.7 * part
    first = browser.run("plg.state.range[0]")
    browser.press("ArrowRight")
    assert browser.run("plg.state.range[0]") > first
    browser.press("0")
    assert browser.text("#found") == whole


def test_a_click_on_the_timeline_opens_what_was_said_there(browser: Browser, tmp_path: Path) -> None:
    with writing(tmp_path / "dump") as writer:
        talk(writer, [(CLIENT, b"early")], 80)
        talk(writer, [(SERVER, b"late")], 443)
    look(browser, tmp_path / "dump")
    said = "plg.model.seconds[plg.model.kind.findLastIndex((kind) => (kind & 127) === 2)]"
    share = browser.run(f"plg.charts.timeline.valToPos({said}, 'x') / plg.charts.timeline.over.clientWidth")
    browser.click("#timeline-chart .u-over", (share, 0.5))
    assert browser.text("#talk-about").startswith("#1 app:40000 → db:443")


def test_the_sequence_lists_all_in_order_and_keys_walk_through_it(browser: Browser, tmp_path: Path) -> None:
    look(browser, every_protocol(tmp_path / "dump"))
    browser.click("#tab-sequence")
    assert [row.split(" ", 1)[1] for row in shown(browser, "sequence")[:3]] == [
        *("#0 opens", "#0 is accepted", "#0 58 POST /a?b=1 HTTP/1.1··Host: db··Content-Length: 5····hello"),
    ]
    browser.run("document.getElementById('sequence').focus()")
    browser.press("End")
    assert browser.text("#talk-about").startswith("UDP app:40000 → db:53")
    browser.press("Home")
    assert browser.text("#talk-about").startswith("#0 app:40000 → db:80")
    assert browser.run("document.querySelectorAll('#sequence [aria-selected=true]').length") == 1


def test_processes_and_failures_are_filtered(browser: Browser, tmp_path: Path) -> None:
    with writing(tmp_path / "dump") as writer:
        making.every_ending(writer, 4)
    look(browser, tmp_path / "dump")

    def choose(box: str, value: str) -> str:
        browser.run(
            f"(() => {{ const box = document.getElementById('{box}'); box.value = '{value}';"
            " box.dispatchEvent(new Event('change')); })()"
        )
        return browser.text("#found").split(",")[0]

    assert choose("which", "failed") == "6 of 9 conversations"
    assert choose("which", "datagrams") == "0 of 9 conversations"
    assert choose("which", "all") == "9 conversations"
    assert choose("process", "1") == "9 conversations"


def test_nothing_that_was_said_or_named_becomes_markup(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = (f"db{HOSTILE}\u202e", f"app{HOSTILE}\x00")
    processes = tuple(
        Process(name, each.position, each.addresses, HOSTILE)
        for name, each in zip(names, making.RUN.processes, strict=True)
    )
    monkeypatch.setattr(making, "RUN", replace(making.RUN, processes=processes, version=HOSTILE))
    said = HOSTILE.encode()
    with writing(tmp_path / "dump") as writer:
        talk(
            writer, [(CLIENT, b"GET /" + said.replace(b" ", b"") + b" HTTP/1.1\r\n\r\n"), (SERVER, said)], 80
        )
        talk(writer, [(CLIENT, said), (SERVER, "\u2028\u202e".encode() + b"\xff\x00\xc3")], 443)
    dump = (tmp_path / "dump").rename(tmp_path / "<img src=x onerror=alert(1)>.traffic")
    verdict = tmp_path / "verdict.json"
    divergence = Divergence(DivergenceKind.DIFFERENT, HOSTILE, 1, HOSTILE, 0, 3, HOSTILE, 5, 0, said, b"\x00")
    verdict.write_text(
        json.dumps(Verdict(1, 0, 5, 5, 0, 0, 1, (divergence,), {HOSTILE: 1}, (HOSTILE,)).as_json())
    )
    look(browser, dump, "--replay", str(verdict))
    for tab in ("flows", "sequence"):
        browser.click(f"#tab-{tab}")
        assert len(shown(browser, tab)) >= 2
        for row in range(2):
            browser.click(f"#{tab}-{row}")
            for mode in ("decoded", "text", "hex"):
                browser.click(f"#mode-{mode}")
                assert (
                    browser.run("document.querySelectorAll('img, iframe, object, script:not([id])').length")
                    == 1
                )
    assert browser.run("document.title") == dump.name
    browser.click("#tab-flows")
    assert len(shown(browser, "flows")) == 2
    browser.click("#flows-1")
    browser.click("#mode-text")
    assert HOSTILE in "".join(shown(browser, "talk"))
    browser.run("document.getElementById('talk').scrollTop = 1e9")
    assert "⟨2028⟩⟨202E⟩\ufffd·\ufffd" in shown(browser, "talk")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 400])
def test_it_fits_and_has_the_colours_that_are_preferred(
    browser: Browser, tmp_path: Path, width: int, dark: bool
) -> None:
    browser.size(width, 900, dark=dark)
    look(browser, every_protocol(tmp_path / "dump"))
    assert browser.run("document.documentElement.scrollWidth") <= width
    background = browser.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (max(background) < 64) is dark
    picture = browser.picture(tmp_path / "page.png")
    assert picture.startswith(b"\x89PNG")
    painted = browser.run(
        "[...document.querySelectorAll('canvas')].map((canvas) => new Set(canvas.getContext('2d')"
        ".getImageData(0, 0, canvas.width, canvas.height).data).size > 3)"
    )
    assert painted == [True, True]


def test_ten_thousand_chunks_are_a_few_rows(browser: Browser, tmp_path: Path) -> None:
    look(browser, many_chunks(tmp_path / "dump", 10_000, connections=3), "--payload", "64K")
    assert browser.text("#found") == "3 conversations, 10,012 events"
    assert "Left out: " in browser.text("#warnings")
    assert "this page holds the first" in browser.text("#talk-about")
    browser.click("#tab-sequence")
    browser.run("document.getElementById('sequence').scrollTop = 1e9")
    assert "ends its side" in shown(browser, "sequence")[-1]
    assert browser.run("document.querySelectorAll('.row').length") < 200


def test_of_a_long_conversation_what_is_asked_for_is_made_into_lines(
    browser: Browser, tmp_path: Path
) -> None:
    with writing(tmp_path / "dump") as writer:
        talk(writer, [(CLIENT, b"%d" % number + b"\n" * 100) for number in range(2000)], 80)
    look(browser, tmp_path / "dump")
    browser.click("#talk")
    browser.run("document.getElementById('talk').scrollTop = 1e9")
    assert shown(browser, "talk")[-1].endswith("later events not shown here: choose one in the sequence")
    browser.click("#tab-sequence")
    assert shown(browser, "sequence")
    browser.run("document.getElementById('sequence').focus()")
    browser.press("End")
    rows = shown(browser, "talk")
    assert rows[0] == "… 2,003 earlier events not shown here: choose one in the sequence"
    assert rows[1].endswith("db:80  ends its side")


def test_what_was_redacted_is_marked(browser: Browser, tmp_path: Path) -> None:
    with writing(tmp_path / "said") as writer:
        talk(writer, [(CLIENT, b"GET /?password=hun"), (CLIENT, b"ter2 HTTP/1.1\r\n\r\n")], 80)
        batch = writer.datagrams()
        for said in (b"nothing", b"token hunter2."):
            batch.put(udp.emit_packet(APP, 1000, DB, 9000, said))
        batch.commit()
    clean = tmp_path / "clean"
    words = ["redact", str(tmp_path / "said"), "-o", str(clean), "--pattern", "hunter2"]
    assert main(words) == 0
    look(browser, clean)
    assert "redacted" in browser.text("#warnings")
    assert browser.text("#talk-about").endswith("7 bytes redacted")
    assert shown(browser, "talk")[1] == "7 bytes of it redacted: x stands for them"
    browser.click("#mode-text")
    assert [row.strip() for row in shown(browser, "talk")[2:]][1:4:2] == [
        "GET /?password=███",
        "████ HTTP/1.1",
    ]
    browser.click("#mode-hex")
    marked = browser.run(
        "[...document.querySelectorAll('#talk .redacted')].map((e) => e.innerText).join(' ')"
    )
    assert marked == " ".join(["78"] * 7)
    assert "00000010  78 78" in "".join(shown(browser, "talk"))
    browser.click("#tab-sequence")
    assert "GET /?password=███" in "".join(shown(browser, "sequence"))
    assert "token ███████." in "".join(shown(browser, "sequence"))


def test_of_a_sweep_each_process_has_its_verdict(browser: Browser, tmp_path: Path) -> None:
    dump = every_protocol(tmp_path / "dump")
    divergence = Divergence(
        DivergenceKind.DIFFERENT, "app", 1, "app -> db:80", 0, 3, "other", 5, 0, b"a", b"b"
    )
    reports = {"db": Verdict(3, 3, 5, 5), "app": Verdict(3, 2, 5, 4, 0, 0, 1, (divergence,))}
    turns = {name: {"status": 0, "report": each.as_json()} for name, each in reports.items()}
    sweep = tmp_path / "sweep.json"
    sweep.write_text(json.dumps({**turns, "third": {"status": 125, "report": None}}))
    look(browser, dump, "--replay", str(sweep))
    assert browser.run("[...document.querySelectorAll('#replay h2')].map((e) => e.innerText)") == [
        "The replay of db alone was as recorded",
        "The replay of app alone diverged in 1 place",
        "The replay of third alone could not be done (status 125)",
    ]
    browser.click("#replay button")
    assert browser.text("#talk-about").startswith("#1 ")
    assert "expected" in "".join(shown(browser, "talk"))


def test_long_names_fit_a_narrow_page(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("a-process-with-a-long-name-" + "x" * 36, "app")
    processes = tuple(
        replace(each, name=name) for name, each in zip(names, making.RUN.processes, strict=True)
    )
    monkeypatch.setattr(making, "RUN", replace(making.RUN, processes=processes))
    with writing(tmp_path / "dump") as writer:
        talk(writer, [(CLIENT, b"hello")], 80)
    browser.size(400, 900)
    look(browser, tmp_path / "dump")
    assert browser.run("document.documentElement.scrollWidth") <= 400


def test_an_empty_recording_has_a_page(browser: Browser, tmp_path: Path) -> None:
    with writing(tmp_path / "dump"):
        pass
    look(browser, tmp_path / "dump")
    assert browser.text("#found") == "0 conversations, 0 events"


def test_a_torn_recording_says_so(browser: Browser, tmp_path: Path) -> None:
    writer = making.create(tmp_path / "dump")
    say(opened(writer), CLIENT, b"and then?")
    writer.close(complete=False)
    look(browser, tmp_path / "dump")
    assert "The recording is torn. Missing:" in browser.text("#warnings")
