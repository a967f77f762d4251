"""The `Store` class, the public interface; the packages below implement what it does."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from qubastore.attachments.attached import AttachedDatabase
from qubastore.lake import creation
from qubastore.lake.location import locate
from qubastore.runs import lookup
from qubastore.runs.vectors import kept_vectors

if TYPE_CHECKING:
    import polars
    import pyarrow

    from qubastore.ranking.result import Ranking


class Store(AttachedDatabase):
    """An open store. Use it as a context manager, or call `close()`.

    Example:
        >>> import qubastore
        >>> with qubastore.open("store") as store:  # doctest: +SKIP
        ...     store.sql("from accuracy").pl()
        ...     store.rank(weights={"calibration": 2})
    """

    def prepare(self, query: str) -> None:
        """Connect the attachments that a query refers to; `sql` and `rows` call this themselves.

        Raises:
            StoreError: If an attachment cannot be read.
        """
        if self.attachments:
            from qubastore.attachments.gather import prepare

            prepare(self, query)

    def rank(
        self,
        weights: Mapping[str, float] | None = None,
        *,
        suite: str = "quba",
        source: str = "auto",
        normalize: str = "auto",
        partial: bool = False,
        where: str | None = None,
        dimensions: Sequence[str] = (),
        without_known_faults: bool = False,
        pareto: Sequence[str] = (),
        top: int | None = None,
        cost: str | None = None,
    ) -> Ranking:
        """The QUBA ranking, best first; `qubastore.ranking.request.RankRequest` documents the options.

        Returns:
            The ranking: `models`, `notes`, and `.pl()` for a Polars frame.

        Raises:
            UsageError: On unknown names, invalid weights, or if nothing can be ranked.
            QueryError: If DuckDB rejects the condition `where`.

        Example:
            >>> store.rank({"calibration": 2}, source="published", top=3).pl()  # doctest: +SKIP
        """
        from qubastore.ranking.rank import rank
        from qubastore.ranking.request import RankRequest

        request = RankRequest(
            weights or {},
            suite=suite,
            source=source,
            normalize=normalize,
            partial=partial,
            where=where,
            dimensions=dimensions,
            without_known_faults=without_known_faults,
            pareto=pareto,
            top=top,
            cost=cost,
        )
        return rank(self, request)

    def run_id(self, start: str) -> str:
        """The id of the one run whose id begins with `start`.

        Raises:
            UsageError: If no run's id does, or several do.
        """
        return lookup.run_id(self, start)

    def models(self) -> polars.DataFrame:
        """One row per measured or imported model."""
        return self.sql("from models order by name, model_id").pl()

    def runs(self) -> polars.DataFrame:
        """One row per run; the view `run_details`."""
        return self.sql("from run_details order by model, dataset, condition, precision").pl()

    def outputs(self, run: str) -> polars.DataFrame:
        """The rows of a run in the table `outputs`, in sample order: label, prediction, confidence, ...

        Args:
            run: The run's id, or the start of it.
        """
        return self.sql("from outputs where run_id = ? order by sample_id", [self.run_id(run)]).pl()

    def logits(self, run: str, *, batch_size: int = 1024) -> Iterator[pyarrow.RecordBatch]:
        """The kept logits of a run, streamed in sample order.

        Args:
            run: The run's id, or the start of it.
            batch_size: Maximum number of rows per batch.

        Yields:
            Record batches with `sample_id` int32 and `values` list<float32> (one vector of n_classes each).
        """
        yield from kept_vectors(self, "logits", self.run_id(run), batch_size=batch_size)

    def features(self, run: str, *, batch_size: int = 1024) -> Iterator[pyarrow.RecordBatch]:
        """The kept features of a run, streamed like `logits`."""
        yield from kept_vectors(self, "features", self.run_id(run), batch_size=batch_size)


def init(path: str | os.PathLike[str] | None = None) -> Store:
    """Create a store, with its schema, views and the published table of the QUBA study, and open it for writing.

    Args:
        path: Folder to create as the store, or a URL; None means QUBASTORE_STORE or ./store.

    Raises:
        StoreError: If the location is already in use or cannot be written to.
    """
    return Store.open(creation.create(path), read_only=False)


def open_store(path: str | os.PathLike[str] | None = None, *, read_only: bool = True) -> Store:
    """Open a store.

    Args:
        path: The store's folder, or its URL; None means QUBASTORE_STORE or ./store.
        read_only: Pass False to ingest, import or remove.

    Raises:
        StoreNotFoundError: If there is no store at `path`.
        StoreVersionError: If the store has the schema version of another release.
    """
    return Store.open(locate(path), read_only=read_only)
