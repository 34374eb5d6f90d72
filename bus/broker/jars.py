"""Kafka's jars on this machine: fetched once per user, verified, resumable.

Called by `bus.broker.launcher`. `ensure` returns the class path; it downloads what is missing from the lock, in
parallel, and continues half-written files. The traps it avoids: a jar is renamed into place only after its SHA-256
agrees, so a kill at any moment leaves either a whole jar or a ``.part`` to continue; two launchers at once take turns
on a file lock; every jar is hashed again at every start (0.1 s), so a damaged cache is found before Java reads it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from bus.broker.lock import KAFKA_VERSION, Jar, locked, repository
from bus.errors import BusError, Unreachable

Progress = Callable[[str], None]
_WORKERS = 8
_CHUNK = 1 << 16
_TIMEOUT_S = 30.0


def ensure(cache: Path, *, progress: Progress, kafka_home: Path | None = None, base: str | None = None) -> list[Path]:
    """The jars to run Kafka with, downloading what is missing.

    Args:
        cache: the user's cache directory; the jars go to ``kafka-<version>`` in it.
        progress: called with a sentence for people.
        kafka_home: an unpacked Kafka or a folder of jars to use instead; nothing is downloaded then.
        base: address of a Maven repository to use instead of the public one.

    Raises:
        BusError: the folder holds no Kafka, there is no space, or a file does not have its locked SHA-256.
        Unreachable: the repository does not answer.
    """
    if kafka_home is not None:
        return _given(kafka_home)
    return fetch(
        locked(), folder=cache / f"kafka-{KAFKA_VERSION}", base=(base or repository()).rstrip("/"), progress=progress
    )


def fetch(jars: Sequence[Jar], *, folder: Path, base: str, progress: Progress) -> list[Path]:
    """Have every one of `jars` in `folder`, verified; download what is missing; return the paths in order.

    Args:
        jars: names and locked SHA-256.
        folder: made when it is not there; locked while this runs.
        base: the repository's address.
        progress: called with a sentence for people.

    Raises:
        BusError: there is no space, or a file does not have its locked SHA-256.
        Unreachable: the repository does not answer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder / ".lock", progress=progress), ThreadPoolExecutor(_WORKERS) as pool:
        whole = list(pool.map(lambda jar: _is_whole(folder / jar.name, jar), jars))
        missing = [jar for jar, there in zip(jars, whole, strict=True) if not there]
        if missing:
            _check_space(missing, folder)
            counter = _Counter(missing, folder, progress)
            work = [pool.submit(_download, jar, folder=folder, base=base, advance=counter.advance) for jar in missing]
            try:
                for done in work:
                    done.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return [folder / jar.name for jar in jars]


@contextmanager
def exclusive(path: Path, *, progress: Progress) -> Iterator[None]:
    """Hold the file lock `path`; wait for another process that holds it. The kernel frees it when its holder dies."""
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"Waiting for another agencybus that works in {path.parent}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _given(home: Path) -> list[Path]:
    for folder in (home / "libs", home):
        found = sorted(folder.glob("*.jar"))
        if any(path.name.startswith("kafka_2.") for path in found):
            return found
    raise BusError(
        f"{home} holds no Kafka: neither it nor its libs folder has a kafka_2.13-*.jar.",
        remedy="Unset the setting kafka_home to use the downloaded Kafka, or point it at an unpacked one.",
    )


def _is_whole(path: Path, jar: Jar) -> bool:
    try:
        if path.stat().st_size != jar.size:
            return False
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest() == jar.sha256
    except FileNotFoundError:
        return False


def _check_space(missing: Iterable[Jar], folder: Path) -> None:
    needed = sum(jar.size for jar in missing)
    if shutil.disk_usage(folder).free < needed + (1 << 20):
        raise _no_space(folder, needed)


def _no_space(folder: Path, needed: int) -> BusError:
    return BusError(
        f"No space for Kafka's jars in {folder}: {needed / 1e6:.0f} MB are needed.",
        remedy="Free some, or set AGENCYBUS__CACHE_DIR to a folder on another disk.",
    )


class _Counter:
    """Counts bytes of several threads and reports each whole percent at most once."""

    def __init__(self, missing: Sequence[Jar], folder: Path, progress: Progress) -> None:
        self._total = sum(jar.size for jar in missing)
        self._count, self._percent = 0, -1
        self._what = f"Downloading Apache Kafka {KAFKA_VERSION} ({len(missing)} jars) to {folder}"
        self._progress = progress
        self._guard = threading.Lock()

    def advance(self, size: int) -> None:
        with self._guard:
            self._count += size
            percent = min(100, 100 * self._count // self._total)
            if percent > self._percent:
                self._percent = percent
                self._progress(f"{self._what}: {self._count / 1e6:.1f} of {self._total / 1e6:.1f} MB")


def _download(jar: Jar, *, folder: Path, base: str, advance: Callable[[int], None]) -> None:
    """Fetch one jar, continuing its ``.part``; a part that turns out wrong is fetched once more from the start."""
    part = folder / f"{jar.name}.part"
    continued = part.exists() and 0 < part.stat().st_size <= jar.size
    if not continued:
        part.unlink(missing_ok=True)
    try:
        _transfer(jar, part=part, url=f"{base}/{jar.path}", advance=advance)
        if not _is_whole(part, jar) and continued:
            part.unlink()
            _transfer(jar, part=part, url=f"{base}/{jar.path}", advance=advance)
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_space(folder, jar.size) from exc
        if isinstance(exc, urllib.error.HTTPError):
            exc.close()
        reason = exc.reason if isinstance(exc, urllib.error.URLError) else exc
        raise Unreachable(
            f"Could not download {jar.name}: {reason}.",
            remedy="Check the network (or a proxy) and run the command again: it continues where it stopped. "
            "AGENCYBUS__BROKER_REPOSITORY can name a mirror, AGENCYBUS__KAFKA_HOME an unpacked Kafka.",
        ) from exc
    if not _is_whole(part, jar):
        part.unlink()
        raise BusError(
            f"{jar.name} does not have the SHA-256 of the lock: what was downloaded is not that jar.",
            remedy="Run the command again; if it stays, the repository or a proxy changes files.",
        )
    part.replace(folder / jar.name)


def _transfer(jar: Jar, *, part: Path, url: str, advance: Callable[[int], None]) -> None:
    """Append the rest of `url` to `part` (HTTP Range), or start anew when the server sends the whole file."""
    have = part.stat().st_size if part.exists() else 0
    advance(have)
    if have == jar.size:
        return
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})  # noqa: S310 base is ours
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
        resumed = have > 0 and answer.status == 206
        with part.open("ab" if resumed else "wb") as handle:
            received = have if resumed else 0
            # Never more than one chunk past the locked size: a wrong address cannot fill the disk.
            while received <= jar.size and (chunk := answer.read(_CHUNK)):
                handle.write(chunk)
                received += len(chunk)
                advance(len(chunk))
            handle.flush()
            os.fsync(handle.fileno())
    if received < jar.size:
        raise ConnectionError(f"the connection ended after {received} of {jar.size} bytes")
