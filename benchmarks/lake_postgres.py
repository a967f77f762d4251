"""The lake of `benchmarks.lake` with its catalog in PostgreSQL, where `make test-cluster` has installed it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock


@contextlib.contextmanager
def in_postgres(path: Path, empty: Path) -> Iterator[str | None]:
    """Copy the catalog of a store in a folder to a PostgreSQL server of its own; yield its URL, None without a server.

    The files stay where they are: both stores consist of the same ones.

    Args:
        path: The store's folder.
        empty: A folder that does not exist yet, for the files of the new store before its catalog is replaced.
    """
    from tests.support.services import Postgres, postgres_programs

    if postgres_programs() is None:
        yield None
        return
    server = Postgres()
    try:
        with mock.patch.dict(os.environ, PGPASSWORD=server.password):
            url = server.url(server.database(), empty)
            _copy_catalog(path, url)
            yield url.partition("?")[0]
    finally:
        server.stop()


def _copy_catalog(path: Path, url: str) -> None:
    """Replace the rows of a new store's catalog by those of another; DuckLake names their tables alike."""
    import qubastore
    from qubastore.lake import ducklake
    from qubastore.lake.location import locate

    qubastore.init(url).close()
    connection = ducklake.connect(locate(url))
    try:
        ducklake.load(connection, ["sqlite_scanner"])
        catalog, server = ducklake.quote(str(path / "catalog.sqlite")), ducklake.quote(url.partition("?")[0])
        connection.execute(f"attach {catalog} as source (type sqlite, read_only)")
        connection.execute(f"attach {server} as target (type postgres)")
        columns = connection.execute(
            """
            select table_name, list(column_name order by column_index), list(data_type order by column_index)
            from duckdb_columns() where database_name = 'target' and starts_with(table_name, 'ducklake_')
            group by table_name
            """
        ).fetchall()
        for table, names, types in columns:
            values = ", ".join(
                f'encode("{name}"::varchar)' if kind == "BLOB" else f'"{name}"::{kind}'
                for name, kind in zip(names, types, strict=True)
            )
            connection.execute(f"delete from target.{table}")
            connection.execute(f"insert into target.{table} select {values} from source.{table}")
        files = ducklake.quote(f"{path.resolve()}/data/")
        connection.execute(f"update target.ducklake_metadata set value = {files} where key = 'data_path'")
    finally:
        connection.close()
