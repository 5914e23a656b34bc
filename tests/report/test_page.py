"""The document: nothing of a recording is markup, and nothing but its own script may run."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

from dump.making import writing
from hypothesis import given
from hypothesis import strategies as st
from report.talks import every_protocol, talk

from netplayground.dump.model import CLIENT
from netplayground.dump.recording import open_recording
from netplayground.report.content import Room
from netplayground.report.page import emit_data, make_page

HOSTILE = (
    b"</script><script>alert(1)</script><!-- <script> ]]> {{script}} &lt;",
    "\u2028\u2029\u202e\ufeff".encode(),
    b"\x00\xff\xfe\xed\xa0\x80",
)


class Document(HTMLParser):
    """Which elements there are, what stands in each script and style, and where they lead."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str | None] = []
        self.texts: list[tuple[str, str]] = []
        self.policy = ""
        self._within = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._within = tag
        fields = dict(attrs)
        self.links += [fields[name] for name in ("src", "href", "srcset", "action", "data") if name in fields]
        if fields.get("http-equiv") == "Content-Security-Policy":
            self.policy = fields["content"] or ""

    def handle_endtag(self, tag: str) -> None:
        self._within = ""

    def handle_data(self, data: str) -> None:
        if self._within in ("script", "style"):
            self.texts.append((self._within, data))


def page_of(path: Path, name: str = "dump", **room: int) -> str:
    with open_recording(path) as recording:
        return make_page(recording, name, Room(**room))


def test_no_byte_of_a_recording_becomes_markup(tmp_path: Path) -> None:
    plain = Document(page_of(every_protocol(tmp_path / "plain")))
    with writing(tmp_path / "hostile") as writer:
        talk(writer, [(CLIENT, each) for each in HOSTILE], 80)
    hostile = page_of(tmp_path / "hostile", name="</title></script><img src=x onerror=alert(1)>{{script}}")
    assert Document(hostile).tags == plain.tags
    assert "alert(1)" not in hostile.replace("onerror=alert(1)\\u003e", "")


def test_the_policy_allows_this_script_and_this_style_and_no_connection(tmp_path: Path) -> None:
    document = Document(page_of(every_protocol(tmp_path / "d")))
    assert document.links == []
    assert document.tags.count("script") == 3
    (style,) = (text for tag, text in document.texts if tag == "style")
    script = document.texts[-2][1]
    sums = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, style)]
    assert document.policy == (
        f"default-src 'none'; script-src 'sha256-{sums[0]}'; style-src 'sha256-{sums[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )


@given(
    st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
)
def test_data_ends_no_element_and_comes_back(value: object) -> None:
    text = emit_data(value)
    assert text.isascii()
    assert not re.search(r"[<>&\x00-\x1f\x7f]", text)
    assert json.loads(text) == value


def test_the_licences_of_the_libraries_are_in_the_page(tmp_path: Path) -> None:
    page = page_of(every_protocol(tmp_path / "d"))
    licences = resources.files("netplayground.report") / "page" / "LIBRARIES.txt"
    assert licences.read_text().count("MIT License") == 2
    assert licences.read_text() in page


def test_the_page_says_what_it_leaves_out(tmp_path: Path) -> None:
    page = page_of(every_protocol(tmp_path / "d"), payload=100)
    assert '"left_out":["' in page
    assert len(page) < len(page_of(tmp_path / "d"))
