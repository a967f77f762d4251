"""Which shards of a dead evaluator are blamed; Ray's answers are faked, as it cannot be told when to fail."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import Any, cast

import pytest
import ray

from qubastore.conditions import Condition
from qubastore.evaluators.cluster.jobs import Job
from qubastore.evaluators.cluster.scheduler import Scheduler
from qubastore.evaluators.worker.messages import ShardResult

WORKER: Any = SimpleNamespace(name="worker")
DATASET: Any = SimpleNamespace(name="d")


class Desk:
    """A scheduler without a cluster: `answers` are what Ray says of each submission."""

    def __init__(self, monkeypatch):
        self.scheduler = cast(Any, Scheduler.__new__(Scheduler))
        self.answers: dict[str, Any] = {}
        self.lines: list[str] = []
        self.kept: list[Job] = []
        report = SimpleNamespace(set_aside=[])
        self.scheduler._pool = SimpleNamespace(mark_dead=lambda worker: False)
        self.scheduler._display = SimpleNamespace(log=self.lines.append)
        self.scheduler._commits = SimpleNamespace(add=lambda job, result: self.kept.append(job))
        self.scheduler._report, self.set_aside = report, report.set_aside
        self.jobs: deque[Job] = deque()
        self.idle: deque[Any] = deque()
        monkeypatch.setattr(ray, "get", self._get)
        monkeypatch.setattr(ray, "wait", lambda refs, **_: ([ref for ref in refs if ref in self.answers], []))

    def _get(self, ref):
        if isinstance(self.answers[ref], Exception):
            raise self.answers[ref]
        return self.answers[ref]

    def finish(self, busy, first):
        self.scheduler._finish(first, busy, self.jobs, self.idle)


def job(first):
    return Job(DATASET, [], Condition.parse("clean"), first // 100, first, first + 100)


LOST = ray.exceptions.RayTaskError("decode", "", ray.exceptions.ObjectLostError("ab", None, ""))
DEAD = ray.exceptions.RayActorError()


@pytest.fixture
def desk(monkeypatch):
    return Desk(monkeypatch)


def test_a_shard_that_dies_alone_twice_is_set_aside(desk):
    killer = job(0)
    for _ in range(2):
        desk.answers = {"a": DEAD}
        desk.finish({"a": (WORKER, killer)}, "a")
        assert killer.alone
    assert desk.set_aside == [("d", 0, 100)]
    assert list(desk.jobs) == [killer]  # from the first time


def test_a_neighbour_is_not_set_aside_for_a_death_and_a_lost_decode(desk):
    innocent, killer = job(0), job(100)
    desk.answers = {"a": LOST}
    desk.finish({"a": (WORKER, innocent)}, "a")
    desk.answers = {"b": DEAD, "a": DEAD}
    desk.finish({"b": (WORKER, killer), "a": (WORKER, innocent)}, "b")
    assert desk.set_aside == []
    assert innocent.alone
    assert killer.alone
    desk.finish({"b": (WORKER, killer)}, "b")
    assert desk.set_aside == [("d", 100, 200)]


def test_decodes_that_are_lost_again_and_again_are_set_aside(desk):
    unlucky = job(0)
    for _ in range(2):
        desk.answers = {"a": LOST}
        desk.finish({"a": (WORKER, unlucky)}, "a")
    assert desk.set_aside == [("d", 0, 100)]


def test_what_was_finished_before_the_death_is_kept(desk):
    done, killer = job(0), job(100)
    desk.answers = {"a": ShardResult(), "b": DEAD}
    busy = {"b": (WORKER, killer), "a": (WORKER, done)}
    desk.finish(busy, "b")
    assert desk.kept == [done]
    assert list(desk.jobs) == [killer]
    assert not busy
    assert killer.deaths == 1
    assert WORKER not in desk.idle
