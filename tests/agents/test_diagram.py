"""Mermaid text of a process."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agents.diagram import mermaid
from tests.agents.process_support import ANSWER, BMP, END, compiled, listen

EVERY: list[dict[str, Any]] = [
    {
        "both": {
            "fork": {
                "left": [{"one": listen("b", deadline={"days": 3}, replaces=["a paper"])}],
                "right": [{"two": listen("c")}],
            }
        }
    },
    {"pick": {"switch": [{"when": "one.flag", "do": [{"stop": {"end": "stopped"}}]}, {"else": []}]}},
    {"more": {"repeat": {"until": "three.flag", "max": 9, "do": [{"three": listen("d")}]}}},
    {"pause": {"wait": {"for": {"hours": 1}}}},
    {"tell": {"emit": ANSWER, "with": {"number": 1}}},
    END,
]


def test_every_step_stands_in_the_chart_with_its_facts() -> None:
    text = mermaid(compiled(EVERY))
    assert text.startswith("flowchart TD\n")
    for name in ("one", "two", "pick", "stop", "more", "three", "pause", "tell", "done"):
        assert f"\n  s_{name}" in text
    assert "owner: b<br/>waits for thing done from b<br/>deadline: within 3 days<br/>replaces: a paper" in text
    assert 's_pick -->|"one.flag"| s_stop' in text
    assert 's_pick -->|"else"| s_more' in text
    assert "s_three -.->|again| s_more" in text
    assert "s_one --> j_both" in text
    assert "s_stop -->" not in text


@settings(max_examples=60, deadline=None)
@given(st.text(BMP, min_size=1, max_size=30))
def test_no_text_of_a_definition_becomes_markup(title: str) -> None:
    plain = mermaid(compiled([{"got": listen("b", title="title")}, END])).count("\n")
    text = mermaid(compiled([{"got": listen("b", title=title)}, END]))
    assert text.count("\n") == plain
    line = next(line for line in text.splitlines() if line.startswith("  s_got["))
    assert line.count('"') == 2
    assert not set(line[len('  s_got["') : -2].replace("<br/>", "")) & set('"<>[](){}|`')
