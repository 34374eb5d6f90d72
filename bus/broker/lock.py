"""The broker's jar lock: read it (`read`), and regenerate it (`python -m bus.broker.lock`).

`kafka.lock` pins the run-time closure of Apache Kafka and its log binding: coordinates, size and SHA-256 per jar, so a
start downloads in parallel without resolving anything (resolving takes about a minute). Called by `bus.broker.jars`.
The trap it avoids: resolving at start would make the broker depend on what a repository answers that day. The
repository's address stands in no file of ours: `jgo.constants` names it, a setting overrides it.
"""

from __future__ import annotations

import hashlib
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bus.errors import BusError

LOCK = Path(__file__).with_name("kafka.lock")
KAFKA_VERSION = "4.3.1"
# Kafka logs through slf4j 1.7 and ships no binding in its run-time closure: without one the broker's log is lost.
ROOTS = (f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}", "org.apache.logging.log4j:log4j-slf4j-impl:2.25.3")
_LINE = re.compile(r"(?P<coordinates>[\w.-]+:[\w.-]+:[\w.-]+) (?P<size>[0-9]{1,10}) (?P<sha256>[0-9a-f]{64})")
_HEADER = "# Jars of the local broker: group:artifact:version size sha256. Regenerate: python -m bus.broker.lock"


@dataclass(frozen=True, slots=True)
class Jar:
    """One locked jar: Maven coordinates ``group:artifact:version``, size in bytes, SHA-256 in hex."""

    coordinates: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """File name, unique within the lock."""
        _, artifact, version = self.coordinates.split(":")
        return f"{artifact}-{version}.jar"

    @property
    def path(self) -> str:
        """Path below a Maven repository's base address."""
        group, artifact, version = self.coordinates.split(":")
        return f"{group.replace('.', '/')}/{artifact}/{version}/{self.name}"

    def __str__(self) -> str:
        return f"{self.coordinates} {self.size} {self.sha256}"


def read(text: str) -> tuple[Jar, ...]:
    """Parse the text of a lock.

    Raises:
        BusError: on a line that is neither a comment nor ``coordinates size sha256``, or a jar listed twice.
    """
    jars: dict[str, Jar] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None or (jar := Jar(found["coordinates"], int(found["size"]), found["sha256"])).name in jars:
            raise BusError(
                f"{LOCK.name}:{number}: not one locked jar: {line[:80]!r}.",
                remedy="Reinstall agencybus, or regenerate it.",
            )
        jars[jar.name] = jar
    return tuple(jars.values())


def write(jars: Iterable[Jar]) -> str:
    """The text of a lock, sorted; `read` gives the jars back."""
    return "\n".join([_HEADER, *sorted(str(jar) for jar in jars)]) + "\n"


def locked() -> tuple[Jar, ...]:
    """The jars of the committed lock."""
    return read(LOCK.read_text(encoding="utf-8"))


def repository() -> str:
    """Base address of the public Maven repository, as jgo names it. Raises BusError without jgo."""
    try:
        from jgo.constants import MAVEN_CENTRAL_URL
    except ImportError:
        raise BusError(
            "The repository of the broker's jars is not known here.",
            remedy="Install agencybus[embedded], or set AGENCYBUS__BROKER_REPOSITORY or AGENCYBUS__KAFKA_HOME.",
        ) from None
    return str(MAVEN_CENTRAL_URL).rstrip("/")


def _resolve(roots: Iterable[str], cache: Path) -> Iterator[Jar]:
    """Resolve the run-time closure of `roots` with jgo and hash every jar (about a minute, cold)."""
    from jgo.maven import Dependency, MavenContext

    context = MavenContext(repo_cache=cache, remote_repos={"given": repository()}, timeout=60)
    wanted = []
    for root in roots:
        group, artifact, version = root.split(":")
        component = context.project(group, artifact).at_version(version)
        # raw: else jgo takes each root as a BOM, and log4j's versions replace Kafka's (kafka-clients became 3.9.1).
        wanted.append(Dependency(component.artifact(), scope="compile", raw=True))
    inputs, closure = context.resolver.resolve(wanted)
    for dependency in (*inputs, *closure):
        if dependency.scope not in ("compile", "runtime"):
            continue
        blob = Path(dependency.artifact.resolve()).read_bytes()
        coordinates = f"{dependency.groupId}:{dependency.artifactId}:{dependency.version}"
        yield Jar(coordinates, len(blob), hashlib.sha256(blob).hexdigest())


def main() -> None:
    """Regenerate the committed lock."""
    with tempfile.TemporaryDirectory() as cache:
        text = write(_resolve(ROOTS, Path(cache)))
    LOCK.write_text(text, encoding="utf-8")
    sys.stderr.write(f"{LOCK}: {len(read(text))} jars\n")


if __name__ == "__main__":
    main()
