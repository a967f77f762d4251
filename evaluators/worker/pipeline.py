"""Work beside the forward passes: threads that prepare batches ahead, and finish outputs behind, within bounds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Ahead(Iterator[T]):
    """The items of an iterator, computed by a thread of its own that starts at once and stays within `depth` items.

    A context manager: at its end, nothing is computed any more. An error of the iterator is raised where its item would
    have come.

    Args:
        items: The iterator.
        depth: Maximum number of items that wait.
    """

    def __init__(self, items: Iterable[T], depth: int) -> None:
        self._items = iter(items)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._waiting = deque(self._thread.submit(next, self._items, _END) for _ in range(depth))

    def __enter__(self) -> Ahead[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def __next__(self) -> T:
        item: Any = self._waiting.popleft().result()
        if item is _END:
            # The next call, if any, ends as well.
            self._waiting.append(self._thread.submit(next, self._items, _END))
            raise StopIteration
        self._waiting.append(self._thread.submit(next, self._items, _END))
        return item  # type: ignore[no-any-return]


_END = object()


class Behind:
    """Calls that a thread of its own makes in the order in which they are given, at most `depth` of which wait.

    A context manager: at its end, all calls have been made; after an error, those that wait are dropped. An error of a
    call is raised by a later `call`, or at the end.

    Args:
        depth: Maximum number of calls that wait.
    """

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="behind")
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> Behind:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        try:
            while kind is None and self._waiting:
                self._waiting.popleft().result()
        finally:
            self._thread.shutdown(cancel_futures=True)

    def call(self, work: Callable[..., None], *arguments: Any) -> None:
        """Have a call made; waits for the first one that waits if there are too many."""
        while len(self._waiting) >= self._depth:
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(work, *arguments))


def overlapped(work: Callable[[T], R], items: Iterable[T], depth: int) -> Iterator[R]:
    """The results of `work` on each item, in order, with up to `depth` items in progress at a time."""
    with ThreadPoolExecutor(depth, thread_name_prefix="overlapped") as threads:
        running: deque[Future[R]] = deque()
        try:
            for item in items:
                if len(running) == depth:
                    yield running.popleft().result()
                running.append(threads.submit(work, item))
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()
