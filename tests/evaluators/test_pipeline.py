"""Threads beside the forward passes: order, bounds, errors, and that nothing goes on afterwards."""

from __future__ import annotations

import threading
import time

import pytest

from qubastore.evaluators.worker.pipeline import Ahead, Behind, overlapped


def recorded(n, made):
    for number in range(n):
        made.append(number)
        yield number


def test_items_come_in_order_and_within_bounds():
    made: list[int] = []
    with Ahead(recorded(20, made), 3) as ahead:
        for number in ahead:
            time.sleep(0.002)
            # The one in hand, three that wait, and the one that replaces it.
            assert made[-1] <= number + 4
            assert number == made[number]
        assert made == list(range(20))
        assert list(ahead) == []


def test_an_iterator_starts_before_its_first_item_is_asked_for():
    started = threading.Event()

    def items():
        started.set()
        yield 1

    with Ahead(items(), 1):
        assert started.wait(10)


def test_an_error_comes_where_its_item_would_have_come():
    def items():
        yield 1
        raise OSError("disk")

    seen: list[int] = []
    with Ahead(items(), 4) as ahead:
        seen.append(next(ahead))
        with pytest.raises(OSError, match="disk"):
            next(ahead)
    assert seen == [1]


def test_an_iterator_is_left_when_its_user_fails():
    made: list[int] = []

    def use():
        with Ahead(recorded(1000, made), 2) as ahead:
            next(ahead)
            raise ValueError("user")

    with pytest.raises(ValueError, match="user"):
        use()
    count = len(made)
    time.sleep(0.05)
    assert len(made) == count < 10


def test_calls_are_made_in_order_and_bounded():
    done: list[int] = []
    running = threading.Event()

    def work(number):
        running.wait(10)
        done.append(number)

    with Behind(2) as behind:
        behind.call(work, 0)
        behind.call(work, 1)
        third = threading.Thread(target=behind.call, args=(work, 2))
        third.start()
        third.join(0.05)
        assert third.is_alive()  # two wait already
        running.set()
        third.join(10)
        assert not third.is_alive()
    assert done == [0, 1, 2]


def test_an_error_of_a_call_is_raised_at_the_end():
    def work(number):
        if number == 1:
            raise RuntimeError("call 1")

    def run():
        with Behind(5) as behind:
            for number in range(4):
                behind.call(work, number)

    with pytest.raises(RuntimeError, match="call 1"):
        run()


def test_the_users_own_error_is_not_replaced():
    def fail():
        raise RuntimeError("call")

    def run():
        with Behind(5) as behind:
            behind.call(fail)
            raise ValueError("user")

    with pytest.raises(ValueError, match="user"):
        run()


def test_overlapped_results_are_in_order():
    most, now, lock = [0], [0], threading.Lock()

    def work(number):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.01 if number % 2 else 0.03)
        with lock:
            now[0] -= 1
        return number

    assert list(overlapped(work, range(8), 2)) == list(range(8))
    assert most[0] == 2
