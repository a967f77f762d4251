"""Questions to the lake of `benchmarks.lake`: of one run, one model, everything; to SQLite and to PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import Figures, Row, Times, alternate, in_process, timed

if TYPE_CHECKING:
    from qubastore.store import Store

ONE_RUN = "select avg((prediction = label)::int) from outputs where run_id = '{run}'"
ONE_MODEL = """
    select dataset, condition, avg((prediction = label)::int)
    from outputs join run_details using (run_id) where model_id = '{model}' group by all
"""
CLASSES = """
    select class, sum(n_correct) / sum(n)
    from class_summary join runs using (run_id) where model_id = '{model}' group by class
"""
ALL_RUNS = "select run_id, avg((prediction = label)::int) from outputs group by run_id"

QUESTIONS = {
    "accuracy of one run from outputs": (ONE_RUN, 0.1),
    "accuracy of one model over its 86 runs from outputs": (ONE_MODEL, None),
    "accuracy per class of one model over its 86 runs": (CLASSES, None),
}
"""Question -> query, and the seconds that it may take more in the large lake than in the small one."""

LAKE = """
import sys, time, qubastore
with qubastore.open(sys.argv[1]) as store:
    started = time.perf_counter()
    n = len(store.rows(sys.argv[2]))
    RESULT = {"seconds": time.perf_counter() - started, "rows": n}
"""
FILES = """
import sys, time, glob, duckdb
files = sorted(glob.glob(sys.argv[1] + "/data/main/outputs/*/*.parquet"))
started = time.perf_counter()
n = len(duckdb.execute(sys.argv[2].replace("from outputs", "from read_parquet(?)"), [files]).fetchall())
RESULT = {"seconds": time.perf_counter() - started, "rows": n}
"""


def questions(small: Path, large: Path, n_runs: int, n_small: int) -> Iterator[Row]:
    """Ask the lake, against a lake of a few runs."""
    stores = {"large": str(large), "small": str(small)}
    run, model = _example(str(small))
    for what, (query, most) in QUESTIONS.items():
        text = query.format(run=run, model=model)
        times = _asked(stores, lambda store, text=text: store.rows(text))  # type: ignore[misc]
        more = times["large"].median - times["small"].median
        yield Row(
            f"{what}, {n_runs:,} runs in the store",
            _milliseconds(times["large"]),
            f"{n_small} runs in the store: {_milliseconds(times['small'])}",
            f"{1000 * more:.0f} ms more",
            "at most 100 ms more" if most else "-",
            more < most if most else None,
            f"{times['large'].spread}; peak {in_process(LAKE, str(large), text)['peak_mib']:.0f} MiB",
            Figures("ms", 1000 * times["large"].median, 1000 * times["small"].median, more * 1000),
        )
    times = _opened(stores)
    yield Row(
        f"opening the store, {n_runs:,} runs",
        _milliseconds(times["large"]),
        f"{n_small} runs: {_milliseconds(times['small'])}",
        f"{times['large'].median / times['small'].median:.1f}x",
        "-",
        None,
        times["large"].spread,
        Figures("ms", 1000 * times["large"].median, 1000 * times["small"].median),
    )
    planned = _planned({"large": str(large)})["large"]
    yield Row(
        f"planning a resume, {n_runs:,} runs",
        f"{planned.median:.2f} s",
        "-",
        "-",
        "-",
        None,
        planned.spread,
        Figures("s", planned.median),
    )
    yield _everything(large, n_runs)


def questions_to_postgres(folder: Path, url: str, n_runs: int) -> Iterator[Row]:
    """Ask the same lake through a catalog in PostgreSQL, against the one in SQLite."""
    stores = {"postgres": url, "sqlite": str(folder)}
    run, model = _example(str(folder))
    asked: dict[str, Callable[[], Mapping[str, Times]]] = {
        what: lambda query=query: _asked(stores, lambda store: store.rows(query.format(run=run, model=model)))  # type: ignore[misc]
        for what, (query, _) in QUESTIONS.items()
    }
    asked["opening the store"] = lambda: _opened(stores)
    asked["planning a resume"] = lambda: _planned(stores)
    asked["accuracy of all runs from outputs"] = lambda: alternate(
        {name: lambda at=at: in_process(LAKE, at, ALL_RUNS)["seconds"] for name, at in stores.items()},  # type: ignore[misc]
        repeats=3,
    )
    for what, ask in asked.items():
        times = ask()
        ours, other = times["postgres"], times["sqlite"]
        yield Row(
            f"{what}, {n_runs:,} runs, catalog in PostgreSQL",
            _milliseconds(ours),
            f"in SQLite: {_milliseconds(other)}",
            f"{ours.median / other.median:.1f}x the time",
            "-",
            None,
            ours.spread,
            Figures("ms", 1000 * ours.median, 1000 * other.median, ours.median / other.median),
        )


def _example(store: str) -> tuple[str, str]:
    """A run, and its model."""
    import qubastore

    with qubastore.open(store) as opened:
        ((run, model),) = opened.rows("select run_id, model_id from runs order by run_id limit 1")
    return run, model


def _milliseconds(times: Times) -> str:
    return f"{1000 * times.median:.0f} ms"


def _asked(stores: Mapping[str, str], ask: Callable[[Store], object]) -> dict[str, Times]:
    """The times of a question to open stores."""
    import qubastore

    opened = {name: qubastore.open(at) for name, at in stores.items()}
    try:
        return alternate(
            {name: lambda store=store: timed(lambda: ask(store)) for name, store in opened.items()}  # type: ignore[misc]
        )
    finally:
        for store in opened.values():
            store.close()


def _opened(stores: Mapping[str, str]) -> dict[str, Times]:
    import qubastore

    return alternate(
        {name: lambda at=at: timed(lambda: qubastore.open(at).close()) for name, at in stores.items()}  # type: ignore[misc]
    )


def _planned(stores: Mapping[str, str]) -> dict[str, Times]:
    """The times to find what is committed, which a resumed ingest begins with."""
    from qubastore.evaluators.planning.plan import _committed

    return _asked(stores, _committed)


def _everything(large: Path, n_runs: int) -> Row:
    """Time the accuracy of all runs from outputs, against the same files read by name; each in a fresh process."""
    peaks: list[float] = []

    def ask(code: str) -> float:
        answer = in_process(code, str(large), ALL_RUNS)
        assert answer["rows"] == n_runs
        if code == LAKE:
            peaks.append(answer["peak_mib"])
        return answer["seconds"]

    times = alternate({"lake": lambda: ask(LAKE), "files": lambda: ask(FILES)}, repeats=3)
    ratio = times["lake"].median / times["files"].median
    return Row(
        f"accuracy of all {n_runs:,} runs from outputs",
        f"{times['lake'].median:.1f} s, peak {max(peaks) / 1024:.2f} GiB",
        f"read_parquet of the same files: {times['files'].median:.1f} s",
        f"{ratio:.2f}x the time",
        "at most 3x, under 4 GiB",
        ratio < 3 and max(peaks) < 4096,
        times["lake"].spread,
        Figures("s", times["lake"].median, times["files"].median, ratio),
    )
