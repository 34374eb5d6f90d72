"""Fetching jars: parallel, resumable, verified; a loopback server plays the repository."""

from __future__ import annotations

import errno
import hashlib
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bus.broker import jars
from bus.broker.jars import ensure, fetch
from bus.broker.lock import Jar
from bus.errors import BusError, Unreachable


def jar(name: str, blob: bytes) -> Jar:
    return Jar(f"test.group:{name}:1", len(blob), hashlib.sha256(blob).hexdigest())


BLOBS = {name: bytes([index]) * (100_000 + index) for index, name in enumerate(["a", "b", "c", "d"])}
JARS = [jar(name, blob) for name, blob in BLOBS.items()]


@dataclass
class Repository:
    """A server of `files`; `ranges` honours Range, `cut` closes each answer after so many bytes."""

    files: dict[str, bytes] = field(default_factory=lambda: {j.path: BLOBS[j.name[0]] for j in JARS})
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    ranges: bool = True
    cut: int | None = None
    base: str = ""


@pytest.fixture
def repository() -> Iterator[Repository]:
    served = Repository()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers["Range"]
            served.asked.append((self.path[1:], wanted))
            blob = served.files.get(self.path[1:])
            if blob is None:
                self.send_error(404)
                return
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and served.ranges else 0
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(blob) - start))
            self.end_headers()
            with suppress(ConnectionError):  # a reader that had enough
                self.wfile.write(blob[start : None if served.cut is None else start + served.cut])

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        served.base = f"http://127.0.0.1:{server.server_port}"
        yield served
        server.shutdown()
        thread.join()


def get(folder: Path, repository: Repository, *, progress: Callable[[str], None] = lambda _: None) -> list[Path]:
    return fetch(JARS, folder=folder, base=repository.base, progress=progress)


def whole(paths: list[Path]) -> bool:
    return [path.read_bytes() for path in paths] == list(BLOBS.values())


def test_all_jars_are_fetched_once_and_progress_ends_at_the_total(tmp_path: Path, repository: Repository) -> None:
    said: list[str] = []
    assert whole(get(tmp_path, repository, progress=said.append))
    assert len(repository.asked) == 4
    assert said[-1].endswith("0.4 of 0.4 MB")
    assert len(said) <= 101
    assert whole(get(tmp_path, repository))
    assert len(repository.asked) == 4
    assert not list(tmp_path.glob("*.part"))


def test_a_half_written_download_is_continued(tmp_path: Path, repository: Repository) -> None:
    (tmp_path / f"{JARS[0].name}.part").write_bytes(BLOBS["a"][:60_000])
    assert whole(get(tmp_path, repository))
    assert (JARS[0].path, "bytes=60000-") in repository.asked


def test_a_download_cut_by_the_network_goes_on_at_the_next_try(tmp_path: Path, repository: Repository) -> None:
    repository.cut = 70_000
    with pytest.raises(Unreachable, match="Could not download") as caught:
        get(tmp_path, repository)
    assert "continues where it stopped" in caught.value.remedy
    assert not list(tmp_path.glob("*.jar"))
    repository.cut = None
    assert whole(get(tmp_path, repository))
    assert any(wanted for _, wanted in repository.asked)


def test_a_server_without_ranges_is_read_from_the_start(tmp_path: Path, repository: Repository) -> None:
    repository.ranges = False
    (tmp_path / f"{JARS[1].name}.part").write_bytes(BLOBS["b"][:60_000])
    assert whole(get(tmp_path, repository))
    assert len(repository.asked) == 4


def test_an_endless_answer_is_left_one_chunk_after_the_locked_size(tmp_path: Path, repository: Repository) -> None:
    repository.files[JARS[0].path] = b"\x07" * 5_000_000
    url = f"{repository.base}/{JARS[0].path}"
    jars._transfer(JARS[0], part=tmp_path / "part", url=url, advance=lambda _: None)
    assert JARS[0].size < (tmp_path / "part").stat().st_size <= JARS[0].size + jars._CHUNK


@pytest.mark.parametrize("part", [b"\xff" * 50_000, b"\xff" * len(BLOBS["c"]), b"\xff" * 999_999])
def test_a_wrong_half_is_thrown_away_and_fetched_again(tmp_path: Path, repository: Repository, part: bytes) -> None:
    (tmp_path / f"{JARS[2].name}.part").write_bytes(part)
    assert whole(get(tmp_path, repository))


def test_a_damaged_jar_in_the_cache_is_found_and_replaced(tmp_path: Path, repository: Repository) -> None:
    get(tmp_path, repository)
    damaged = bytearray(BLOBS["d"])
    damaged[5] ^= 1
    (tmp_path / JARS[3].name).write_bytes(damaged)
    assert whole(get(tmp_path, repository))


@pytest.mark.parametrize("served", [b"\x07" * len(BLOBS["a"]), b"\x07" * 5_000_000])
def test_a_file_that_is_not_the_locked_one_is_refused(tmp_path: Path, repository: Repository, served: bytes) -> None:
    repository.files[JARS[0].path] = served
    with pytest.raises(BusError, match=rf"{JARS[0].name} does not have the SHA-256 of the lock"):
        get(tmp_path, repository)
    assert not (tmp_path / JARS[0].name).exists()
    assert not (tmp_path / f"{JARS[0].name}.part").exists()


def test_a_missing_file_is_one_sentence(tmp_path: Path, repository: Repository) -> None:
    del repository.files[JARS[0].path]
    with pytest.raises(Unreachable, match=r"Could not download a-1\.jar: .*Not Found"):
        get(tmp_path, repository)


def test_no_network_is_one_sentence_with_the_remedies(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(Unreachable, match="Connection refused") as caught:
        fetch(JARS, folder=tmp_path, base=f"http://127.0.0.1:{port}", progress=lambda _: None)
    assert "AGENCYBUS__KAFKA_HOME" in caught.value.remedy
    assert caught.value.exit_code == 4


def test_no_space_is_said_before_downloading(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(BusError, match="No space for Kafka's jars") as caught:
        get(tmp_path, repository)
    assert "AGENCYBUS__CACHE_DIR" in caught.value.remedy
    assert not repository.asked


def test_a_disk_that_fills_while_downloading_is_the_same_sentence(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(jars, "_transfer", full)
    with pytest.raises(BusError, match="No space for Kafka's jars"):
        get(tmp_path, repository)


def test_two_launchers_at_once_fetch_each_jar_once(tmp_path: Path, repository: Repository) -> None:
    results: list[list[Path]] = []
    threads = [threading.Thread(target=lambda: results.append(get(tmp_path, repository))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(results) == 4
    assert all(whole(paths) for paths in results)
    assert len(repository.asked) == 4


def test_a_lock_whose_holder_was_killed_is_free(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from bus.broker.jars import exclusive\n"
        "with exclusive(Path(sys.argv[1]), progress=print): print('held', flush=True); sys.stdin.read()"
    )
    said: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"

        def waiting(sentence: str) -> None:
            said.append(sentence)
            holder.kill()

        with jars.exclusive(tmp_path / "lock", progress=waiting):
            assert said == [f"Waiting for another agencybus that works in {tmp_path}"]


@pytest.mark.parametrize("inside", [".", "libs"])
def test_a_given_kafka_is_used_and_nothing_is_downloaded(tmp_path: Path, inside: str) -> None:
    folder = tmp_path / inside
    folder.mkdir(exist_ok=True)
    for name in ("kafka_2.13-4.3.1.jar", "slf4j.jar"):
        (folder / name).touch()
    found = ensure(tmp_path / "cache", progress=lambda _: None, kafka_home=tmp_path)
    assert [path.name for path in found] == ["kafka_2.13-4.3.1.jar", "slf4j.jar"]
    assert not (tmp_path / "cache").exists()


def test_a_given_folder_without_kafka_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BusError, match="holds no Kafka"):
        ensure(tmp_path, progress=lambda _: None, kafka_home=tmp_path)
