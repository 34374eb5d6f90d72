"""The picture of a process."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from agents.svg import svg
from tests.agents.process_support import BMP, END, compiled, listen
from tests.agents.test_diagram import EVERY

NS = "{http://www.w3.org/2000/svg}"


def parse(text: str) -> etree._Element:
    return etree.fromstring(text.encode(), etree.XMLParser(resolve_entities=False, no_network=True))


def test_the_picture_is_whole_xml_named_described_and_loads_nothing() -> None:
    text = svg(compiled(EVERY))
    root = parse(text)
    assert root.get("role") == "img"
    assert root.findtext(f"{NS}title") == "Process p"
    assert "replaces: a paper" in (root.findtext(f"{NS}desc") or "")
    assert "href" not in text
    assert "script" not in text
    shown = " ".join("".join(element.itertext()) for element in root.iter(f"{NS}text"))
    for part in ("Opens on", "owner: b", "within 3 days", "a paper", "left", "right", "until three.flag", "stopped"):
        assert part in shown


def test_no_box_leaves_the_picture_and_no_two_cards_overlap() -> None:
    root = parse(svg(compiled(EVERY)))
    width, height = int(root.get("width", "0")), int(root.get("height", "0"))
    boxes = [
        tuple(int(element.get(key, "0")) for key in ("x", "y", "width", "height"))
        for element in root.iter(f"{NS}rect")
        if element.get("class") in {"s", "e", "c"}
    ]
    assert len(boxes) == 11
    for index, (x, y, w, h) in enumerate(boxes):
        assert 0 <= x <= x + w <= width
        assert 0 <= y <= y + h <= height
        for x2, y2, w2, h2 in boxes[:index]:
            assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y


def test_a_title_cannot_steer_a_terminal_or_turn_the_text_around() -> None:
    text = svg(compiled([{"got": listen("b", title="Şəki \x1b[2J \x9b31m \u202e\u00a0x")}, END]))
    assert all(line.replace("\u00a0", "").isprintable() for line in text.split("\n"))
    assert "Şəki" in text


@settings(max_examples=60, deadline=None)
@given(st.text(BMP, min_size=1, max_size=60), st.text(BMP, max_size=60))
def test_any_title_and_paper_stay_text(title: str, paper: str) -> None:
    root = parse(svg(compiled([{"got": listen("b", title=title, replaces=[paper])}, END])))
    plain = parse(svg(compiled([{"got": listen("b")}, END])))
    assert {element.tag for element in root.iter()} == {element.tag for element in plain.iter()}
