"""Lives one whole life while it is imported, so that those forked afterwards compile and import nothing.

Named to `tests.torture.zygote` by `test_sql`. A first life costs 0.7 s of processor time, a later one 0.1 s. No thread
outlives the import: the zygote forks.
"""

from __future__ import annotations

import pickle
import tempfile
import threading
from pathlib import Path

import sqlalchemy.dialects.postgresql.pg8000  # noqa: F401  # else each life on PostgreSQL would import it

from bus.message import Record
from bus.testing import START, memory_bus, memory_cluster
from schemas.requests import RequestCreated
from tests.torture import sql_life


def _live() -> None:
    cluster = memory_cluster(sql_life.ASKED, partitions=sql_life.PARTITIONS)
    with memory_bus(cluster, agency="portal") as bus:
        asked = RequestCreated(request_id="R-1", kind="birth_benefit", subject="SYN-P-0001")
        bus.publish(asked, case="case-1", id="ask-1", time=START)
    records: list[Record] = [record for log in cluster.logs.values() for record in log]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "topic").write_bytes(pickle.dumps(records))
        url = f"sqlite:///{folder}/warm.db"
        books = sql_life.Books(url)
        books.metadata.create_all(books.engine)
        books.engine.dispose()
        assert sql_life.take(url=url, folder=folder) == 0
        assert sql_life.relay(url=url, folder=folder) == 0
    assert threading.active_count() == 1, "the zygote would fork a thread's half-done work"


_live()
