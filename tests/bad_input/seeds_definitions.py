"""Malformed process definitions, each one mutation of a small right one. Read by `workflow check` and `worker run`."""

from __future__ import annotations

import gzip
from pathlib import Path

from tests.bad_input.case import Case, places, replaced

CHECK, WORKER = "definition", "worker"

GOOD = """\
process: paper
title: A request is answered by a paper
opens_on: portal.request.created.v1
as: asked
do:
  - issued:
      listen: justice.document.issued.v1
      where: issued.holder == asked.subject
      owner: justice
      deadline: {days: 3, late: {emit: bus.deadline.missed.v1}}
  - way:
      switch:
        - when: asked.kind == 'passport'
          do: [{short: {end: completed}}]
        - else: []
  - answer:
      emit: portal.request.completed.v1
      with: {request_id: asked.request_id, kind: asked.kind, subject: asked.subject}
      owner: portal
  - done: {end: completed}
"""
_HEAD = GOOD[: GOOD.index("do:")]
ALIAS_BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
)
_DEEP_STEPS = "do:\n" + "".join(
    f"{'  ' * 3 * n}  - s{n}:\n{'  ' * 3 * n}      repeat:\n{'  ' * 3 * n}        until: true\n"
    f"{'  ' * 3 * n}        max: 2\n{'  ' * 3 * n}        do:\n"
    for n in range(40)
)  # fmt: skip


def _with(name: str, old: str, new: str, says: str, kind: str = CHECK) -> Case:
    return Case(kind, name, replaced(GOOD, old, new), says)


def _bytes(name: str, raw: bytes, says: str) -> Case:
    return Case(CHECK, name, raw, says)


def _steps(count: int) -> bytes:
    """A long process in which every step has a fault."""
    steps = "".join(f"  - s{n}: {{listen: nobody.knows.this.v1, owner: justice}}\n" for n in range(count))
    return (_HEAD + "do:\n" + steps + "  - done: {end: completed}\n").encode()


_WHERE = "issued.holder == asked.subject"
_FORM: list[Case] = [
    *places(CHECK, code=3),
    _bytes("empty", b"", "is empty"),
    _bytes("only a comment", b"# nothing\n", "is empty"),
    _bytes("truncated in a mapping", GOOD.encode()[: GOOD.index("days: 3") + 5], ":10: is not YAML"),
    _bytes("truncated after do", GOOD.encode()[: GOOD.index("  - issued")], ":5: do: "),
    _bytes("utf-16 with mark", GOOD.encode("utf-16"), "binary data"),
    _bytes("utf-16 without mark", GOOD.encode("utf-16-le"), "binary data"),
    _bytes("gzip", gzip.compress(GOOD.encode()), "binary data|UTF-8"),
    _bytes("a zero byte", GOOD.encode().replace(b"passport", b"pass\0port"), "binary data"),
    _bytes("windows-1252", GOOD.replace("A request", "Schön").encode("cp1252"), ":2: is not UTF-8"),
    _bytes("old mac line ends", GOOD.replace("\n", "\r").replace("days: 3", "days: three").encode(), r":10: .*days"),
    _bytes("windows line ends", GOOD.replace("\n", "\r\n").replace("days: 3", "days: three").encode(), r":10: .*days"),
    _bytes("alias bomb", ALIAS_BOMB.encode(), ":1: uses an anchor"),
    _with("cyclic anchor", "[{short: {end: completed}}]", "&x [*x]", ":14: uses an anchor"),
    _with("merge key", "  - done: {end: completed}", "  - done: {end: completed, <<: {a: 1}}", ":20: uses a merge key"),
    _with("repeated key", "      owner: portal", "      owner: portal\n      owner: justice", ":20: repeats the key"),
    _with("python object tag", "days: 3", "days: !!python/object/apply:os.system [id]", ":10: uses the tag"),
    _with("tab indentation", "  - done:", "\t- done:", ":20: is not YAML"),
    _with("two documents", "  - done: {end: completed}", "  - done: {end: completed}\n---\na: 1", ":21: holds more"),
    _bytes("a million brackets", b"do: " + b"[" * 1_000_000, "(?i)nest"),
    _bytes("a million nested maps", b"{a: " * 250_000, "(?i)nest"),
    _bytes("steps nested forty deep", (_HEAD + _DEEP_STEPS).encode(), "deeper than 32"),
    _bytes("ten megabytes on one line", b"title: " + b"x" * 10_000_000, "larger than 1 MiB"),
    _bytes("sixty thousand values", b"do:\n" + b"  - a\n" * 60_000, "more than 50000 values"),
    _bytes("a key of half a megabyte", GOOD.encode() + b"? " + b"k" * 500_000 + b"\n: 1\n", ":21: .*unknown"),
    _bytes("endless zero bytes", b"\0" * 2_000_000, "larger than 1 MiB"),
    _bytes("a list", b"- a\n- b\n", ":1: "),
    _bytes("a number", b"12\n", ":1: "),
    _bytes("xml", b"<process>\n<title>x</title>\n</process>\n", ":1: "),
    _bytes("a number as key", b"12: a\n", ":1: has the key '12'"),
    _bytes("random bytes", bytes(range(256)) * 40, "binary data|UTF-8"),
]  # fmt: skip
_TYPES = [
    _with("unknown key with a near match", "title: A", "titel: A", "'title'"),
    _with("title is a list", "title: A request is answered by a paper", "title: [a]", ":2: title: "),
    _bytes("do is a mapping", (_HEAD + "do:\n  issued: {end: x}\n").encode(), ":5: do"),
    _with("process is a number", "process: paper", "process: 7", ":1: process: "),
    _with("process with a path", "process: paper", "process: ../../etc/passwd", ":1: process: "),
    _with("days negative", "days: 3", "days: -3", ":10: .*days"),
    _with("days beyond 64 bits", "days: 3", "days: 99999999999999999999", ":10: holds the number"),
    _with("days not a number", "days: 3", "days: .nan", ":10: .*days"),
    _with("days infinite", "days: 3", "days: 1e999", ":10: holds the number|:10: .*days"),
    _with("days a fraction", "days: 3", "days: 3.5", ":10: .*days"),
    _with("deadline empty", "{days: 3, late: {emit: bus.deadline.missed.v1}}", "{}", ":10: .*exactly one way"),
    _with("step without a kind", "  - done: {end: completed}", "  - done: {}", ":20: .*exactly one of"),
    _with("step of two kinds", "  - done: {end: completed}", "  - done: {end: completed, listen: a.b.c.v1}", ":20: "),
    _with("key of another kind", "  - done: {end: completed}", "  - done: {end: completed, owner: x}", ":20: .*owner"),
    _with("reserved step name", "  - done: {end", "  - case: {end", ":20: .*'case'"),
    _with("step name with an escape", "  - done: {end", '  - "\\e[2J\\e]0;owned\\a": {end', r":20: .*\\x1b"),
    _with("key turned right to left", "title: A", '"\\u202Eeltit": A', r":2: .*\\u202e"),
    _with("an emoji as a name", "process: paper", "process: 📄", ":1: process: "),
]  # fmt: skip
_MEANING = [
    _with("unknown topic", "listen: justice.document.issued.v1", "listen: justice.document.isued.v1", ":7: .*isued"),
    _with("no topic at all", "opens_on: portal.request.created.v1", "opens_on: '*'", ":3: "),
    _with("topic with terminal codes", "opens_on: portal.request.created.v1", 'opens_on: "\\e[31m"', r":3: .*\\x1b"),
    _with("import in an expression", _WHERE, "__import__('os').system('id') == 1", ":8: "),
    _with("attribute of an attribute", _WHERE, "issued.__class__.__mro__ == 1", ":8: .*__class__"),
    _with("a call", _WHERE, "open('/etc/passwd') == 1", ":8: "),
    _with("a format string", _WHERE, "issued.holder == '{0.__class__}'.format(1)", ":8: "),
    _with("a lambda", _WHERE, "(lambda: 1)() == 1", ":8: "),
    _with("one equals sign", "issued.holder == asked", "issued.holder = asked", ":8: .*=="),
    _with("chained comparison", _WHERE, "1 < 2 < 3", ":8: "),
    _with("expression of a megabyte", _WHERE, "a" * 900_000, ":8: .*longer than 2000"),
    _with("expression nested deep", _WHERE, "(" * 900 + "1" + ")" * 900, ":8: .*deeper than 32"),
    _with("unclosed text", _WHERE, '"issued.holder == abc"', ":8: "),
    _with("name not bound", _WHERE, "nobody.holder == asked.subject", ":8: .*nobody"),
    _with("comparison of two kinds", _WHERE, "issued.issued_on == asked.subject", ":8: "),
    _with("field that is not there", "{request_id: asked.request_id", "{requestid: asked.request_id", ":18: "),
    _with("mapping from a later step", "kind: asked.kind, sub", "kind: done.kind, sub", ":18: .*done"),
    _with("literal with terminal codes", "subject: asked.subject}", 'subject: "\\e[2J\\u202E"}', r":18: .*\\x1b"),
    _with("no end", "  - done: {end: completed}\n", "", "without an end"),
    _with("step after the end", "  - done: {end", "  - over: {end: completed}\n  - done: {end", ":21: .*never reached"),
    _with("step named twice", "  - done: {end", "  - answer: {end", ":20: .*name of another step"),
    _with("repeat that spins", "  - done:", "  - spin: {repeat: {until: asked.kind == 'x', max: 5, do: "
          "[{tell: {emit: bus.deadline.missed.v1}}]}}\n  - done:", ":20: .*without waiting"),
    _with("deadline that waits for itself", "late: {emit: bus.deadline.missed.v1}", "late: {do: [{again: {listen: "
          "justice.document.issued.v1, owner: justice, deadline: {days: 1}}}, {x: {end: y}}]}", ":10: .*cannot listen"),
    _with("deadline of a later step", "{days: 3, late: {emit: bus.deadline.missed.v1}}", "{at: answer.at}", ":10: "),
    _with("switch without else", "        - else: []\n", "", ":12: .*no arm"),
    _with("fork with one branch", "  - done:", "  - f: {fork: {a: [{w: {wait: {for: {days: 1}}}}]}}\n  - done:",
          ":20: "),
    _with("owner missing", "      owner: justice\n", "", ":6: .*no owner"),
    _with("owner no agency", "owner: justice", "owner: 'The Ministry'", ":9: .*The Ministry"),
    Case(CHECK, "three hundred faults", _steps(300), "580 more findings"),
]  # fmt: skip
_RUN = [
    *(case for case in places(WORKER, code=2, directory="there is no process") if case.name != "unreadable"),
    Case(WORKER, "unreadable", next(c.content for c in _FORM if c.name == "unreadable"), "Permission denied", 2,
         unprivileged=True),
    _with("unknown topic", "listen: justice.document.issued.v1", "listen: justice.document.isued.v1", ":7: ", WORKER),
    _with("two documents", "  - done: {end: completed}", "  - done: {end: completed}\n---\na: 1", ":21: ", WORKER),
    Case(WORKER, "alias bomb", ALIAS_BOMB.encode(), ":1: uses an anchor"),
    Case(WORKER, "binary", bytes(range(256)), "binary"),
    Case(WORKER, "truncated", GOOD.encode()[:200], ":[0-9]+: "),
    Case(WORKER, "a million brackets", b"do: " + b"[" * 1_000_000, "(?i)nest"),
]  # fmt: skip

CASES = [*_FORM, *_TYPES, *_MEANING, *_RUN]


def words(kind: str, path: Path) -> list[str]:
    """The command that reads the file; no broker listens at the address given."""
    return ["workflow", "check", str(path)] if kind == CHECK else ["worker", "run", str(path)]
