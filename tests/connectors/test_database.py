"""Opening an agency's database: no secrets in words, transactions that do not meet in the middle, errors told apart."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Column, Engine, Integer, MetaData, String, Table, func, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from bus.errors import Unreachable, UsageError
from connectors.database import READING, insert_new, name_of, open_database, reaching, transaction
from tests.postgres import Postgres, broken_connections

METADATA = MetaData()
THINGS = Table("thing", METADATA, Column("id", Integer, primary_key=True), Column("word", String(20)))


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    made = open_database(database)
    METADATA.create_all(made)
    yield made
    made.dispose()


def count(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(THINGS)).scalar_one())


@pytest.mark.parametrize(
    "url",
    [
        "hunter2-is-no-address",
        "mysql://u:hunter2@h/d",
        "postgresql+asyncpg://u:hunter2@h/d",
        "sqlite://",
        "postgresql://u:hunter2@h:port/d",
    ],
)
def test_what_is_no_database_of_ours_is_refused_without_quoting_a_password(url: str) -> None:
    with pytest.raises(UsageError) as refused:
        open_database(url)
    assert "hunter2" not in str(refused.value)


def test_without_the_extra_the_driver_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pg8000", None)
    with pytest.raises(UsageError, match=r"agencybus\[sql\]"):
        open_database("postgresql://u@h/d")


def test_the_name_for_people_has_no_password() -> None:
    assert name_of(open_database("postgresql://u:hunter2@h/d")) == "postgresql+pg8000://u:***@h/d"


def test_a_transaction_commits_when_left_and_rolls_back_when_it_raises(engine: Engine) -> None:
    with transaction(engine) as connection:
        connection.execute(THINGS.insert().values(id=1))
    with pytest.raises(IntegrityError), transaction(engine) as connection:
        connection.execute(THINGS.insert(), [{"id": 2}, {"id": 1}])
    assert count(engine) == 1


def test_an_error_does_not_quote_the_values(engine: Engine) -> None:
    with pytest.raises(IntegrityError) as raised, transaction(engine) as connection:
        connection.execute(THINGS.insert(), [{"id": 1, "word": "citizen"}, {"id": 1, "word": "citizen"}])
    assert "citizen" not in str(raised.value)


def test_a_row_is_new_once(engine: Engine) -> None:
    with transaction(engine) as connection:
        assert insert_new(connection, THINGS, {"id": 1, "word": "a"}, unique=["id"])
        assert not insert_new(connection, THINGS, {"id": 1, "word": "b"}, unique=["id"])
        assert connection.execute(select(THINGS.c.word)).scalars().all() == ["a"]


def test_a_row_that_another_transaction_is_just_inserting_is_waited_for(engine: Engine) -> None:
    found: list[bool] = []

    def second() -> None:
        with transaction(engine) as connection:
            found.append(insert_new(connection, THINGS, {"id": 1}, unique=["id"]))

    waiting = threading.Thread(target=second)
    with transaction(engine) as connection:
        assert insert_new(connection, THINGS, {"id": 1}, unique=["id"])
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
    waiting.join(30)
    assert found == [False]


def test_two_readers_that_want_to_write_do_not_meet_in_the_middle(engine: Engine) -> None:
    """SQLite's own late lock would refuse the second of two transactions that read first and then write."""

    def read_and_write(key: int) -> None:
        with transaction(engine) as connection:
            connection.execute(select(THINGS)).all()
            connection.execute(THINGS.insert().values(id=key))

    threads = [threading.Thread(target=read_and_write, args=(key,)) for key in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert count(engine) == 20


def test_a_reading_connection_waits_for_no_writer(engine: Engine) -> None:
    with transaction(engine) as writer:
        writer.execute(THINGS.insert().values(id=1))
        with engine.connect() as connection:
            assert connection.execution_options(**READING).execute(select(THINGS)).all() == []


def test_a_server_that_is_not_there_is_unreachable() -> None:
    engine = open_database("postgresql://u:hunter2@127.0.0.1:9/d")
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9") as raised, reaching(engine), engine.connect():
        pass
    assert "hunter2" not in str(raised.value)


def test_a_folder_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'missing' / 'a.db'}")
    with pytest.raises(Unreachable, match="SQLITE_CANTOPEN"), reaching(engine), engine.connect():
        pass


def test_a_wrong_password_and_a_missing_database_may_pass_and_are_named(postgres: Postgres) -> None:
    wrong = open_database(postgres.url("postgres").replace(postgres.password, "guess"))
    missing = open_database(postgres.url("nowhere"))
    with broken_connections():
        with pytest.raises(Unreachable, match="28P01"), reaching(wrong), wrong.connect():
            pass
        with pytest.raises(Unreachable, match="3D000"), reaching(missing), missing.connect():
            pass


def test_a_connection_cut_by_the_server_is_unreachable_and_the_next_one_works(
    postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    engine = open_database(postgres.fresh())
    with broken_connections():
        _cut(engine)
        with reaching(engine), engine.connect() as connection:
            assert connection.execute(text("SELECT 1")).scalar_one() == 1
        engine.dispose()
        caplog.clear()  # the pool logs the broken connection, and the log holds it


def _cut(engine: Engine) -> None:
    with engine.connect() as connection:
        me = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        with engine.connect() as other:
            other.execute(text(f"SELECT pg_terminate_backend({me})"))
        with pytest.raises(Unreachable), reaching(engine):
            connection.execute(text("SELECT 1"))


def test_a_deadlock_is_unreachable_and_a_fault_of_the_program_is_not(postgres: Postgres) -> None:
    engine = open_database(postgres.fresh())
    METADATA.create_all(engine)
    with transaction(engine) as connection:
        connection.execute(THINGS.insert(), [{"id": 1}, {"id": 2}])
    met = threading.Barrier(2)
    said: list[str] = []

    def cross(first: int, second: int) -> None:
        try:
            with transaction(engine) as connection:
                connection.execute(THINGS.update().where(THINGS.c.id == first).values(word="x"))
                met.wait(30)
                connection.execute(THINGS.update().where(THINGS.c.id == second).values(word="x"))
        except Unreachable as error:
            said.append(str(error))

    with transaction(engine) as connection:
        name = connection.execute(text("SELECT current_database()")).scalar_one()
        connection.execute(text(f"ALTER DATABASE {name} SET deadlock_timeout = '50ms'"))
    engine.dispose()
    other = threading.Thread(target=cross, args=(2, 1))
    other.start()
    cross(1, 2)
    other.join(30)
    assert len(said) == 1
    assert "40P01" in said[0]
    with pytest.raises(DBAPIError), transaction(engine) as connection:
        connection.execute(text("SELECT * FROM nowhere"))
    engine.dispose()


def test_a_missing_table_of_sqlite_is_no_outage(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'a.db'}")
    with pytest.raises(DBAPIError), transaction(engine) as connection:
        connection.execute(text("SELECT * FROM nowhere"))
    engine.dispose()


def test_a_writer_who_waits_too_long_in_sqlite_is_told_as_unreachable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.database._BUSY_MS", 10)
    engine = open_database(f"sqlite:///{tmp_path / 'a.db'}")
    with transaction(engine), pytest.raises(Unreachable, match="SQLITE_BUSY"), transaction(engine):
        pass
    engine.dispose()
