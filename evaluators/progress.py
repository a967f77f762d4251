"""Progress of an ingest: live bars in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

PLAIN_INTERVAL = 5.0
"""Seconds between progress lines of one run."""


SHOWN_FINISHED = 8
"""Bars of finished runs that stay visible: a suite has close to a hundred runs per model."""


class Display(Protocol):
    """What an ingest reports its progress to."""

    def __enter__(self) -> Display: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def log(self, text: str) -> None:
        """Show a line of text."""

    def begin(self, run_id: str, title: str, total: int, done: int) -> None:
        """Start the progress of a run; `done` of its `total` images were committed before."""

    def advance(self, run_id: str, images: int, failed: int) -> None:
        """Advance a run by images that were committed, some of which may have failed."""


class Silent:
    """A display that shows nothing, for notebooks and tests."""

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def log(self, text: str) -> None:
        """Do nothing."""

    def begin(self, run_id: str, title: str, total: int, done: int) -> None:
        """Do nothing."""

    def advance(self, run_id: str, images: int, failed: int) -> None:
        """Do nothing."""


class Lines(Silent):
    """A display that prints plain lines, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._runs: dict[str, tuple[str, int, int, int, float, float]] = {}

    def __enter__(self) -> Lines:
        return self

    def log(self, text: str) -> None:
        """Print the line."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def begin(self, run_id: str, title: str, total: int, done: int) -> None:
        """Start to count the images of a run."""
        now = time.monotonic()
        self._runs[run_id] = (title, total, done, 0, now, 0.0)

    def advance(self, run_id: str, images: int, failed: int) -> None:
        """Print the progress of the run every `PLAIN_INTERVAL` seconds, and when it is done."""
        title, total, done, failures, started, last = self._runs[run_id]
        done, failures, now = done + images, failures + failed, time.monotonic()
        if done >= total or now - last > PLAIN_INTERVAL:
            last = now
            speed = images if now == started else done / (now - started)
            tail = f", {failures} failed" if failures else ""
            self.log(f"{title}: {done}/{total} images, {speed:.0f}/s{tail}")
        self._runs[run_id] = (title, total, done, failures, started, last)


class Bars(Silent):
    """A display of live bars: progress, speed, time left and failures of each run."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            _Speed(),
            TimeRemainingColumn(elapsed_when_finished=True),
            _Failures(),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._finished: list[TaskID] = []

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def log(self, text: str) -> None:
        """Print the line above the bars."""
        self._progress.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def begin(self, run_id: str, title: str, total: int, done: int) -> None:
        """Add the bar of a run."""
        self._tasks[run_id] = self._progress.add_task(title, total=total, completed=done, failed=0)

    def advance(self, run_id: str, images: int, failed: int) -> None:
        """Advance the bar of a run, and hide the oldest finished bar if there are too many."""
        task = self._tasks[run_id]
        bar = self._progress.tasks[self._progress.task_ids.index(task)]
        self._progress.update(task, advance=images, failed=bar.fields["failed"] + failed)
        if bar.finished:
            self._finished.append(task)
        if len(self._finished) > SHOWN_FINISHED:
            self._progress.update(self._finished.pop(0), visible=False)


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} img/s" if speed else "", style="progress.data.speed")


class _Failures(ProgressColumn):
    def render(self, task: Task) -> Text:
        failed = task.fields.get("failed", 0)
        return Text(f"{failed} failed" if failed else "", style="red")


def terminal_display(console: Console | None = None) -> Display:
    """Bars in a terminal, lines elsewhere; on stderr, so that piped output stays clean."""
    console = console or Console(stderr=True)
    return Bars(console) if console.is_terminal else Lines(console)


def title(model: str, place: str) -> str:
    """The title of a run: `model on dataset`."""
    return f"{model} on {place}"
