"""Batches in flight are ``map`` to who waits for them, and what they bring goes to the store."""

import itertools
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skdne.embedding_store import EmbeddingStore, pixel_keys
from skdne.encoders._requests import in_order, through_store


def drain(iterator):
    """What an iterator gave, and the error that ended it."""
    found = []
    try:
        for item in iterator:
            found.append(item)
    except (ValueError, OSError) as error:
        return found, error
    return found, None


@settings(max_examples=100, deadline=None)
@given(
    n=st.integers(0, 12),
    n_in_flight=st.integers(1, 5),
    works_fail=st.sets(st.integers(0, 11), max_size=3),
    items_fail=st.one_of(st.none(), st.integers(0, 11)),
)
def test_it_is_map(n, n_in_flight, works_fail, items_fail):
    def items():
        for i in range(n):
            if i == items_fail:
                raise OSError("items")
            yield i

    def work(i):
        time.sleep(0.001 * (i % 3 == 0))  # so that later ones are done first
        if i in works_fail:
            raise ValueError(f"work {i}")
        return i * i

    found, error = drain(in_order(work, items(), n_in_flight))
    expected, expected_error = drain(map(work, items()))
    assert found == expected
    assert (type(error), str(error)) == (type(expected_error), str(expected_error))


@pytest.mark.parametrize("n_in_flight", [2, 4])
def test_as_many_are_in_flight_as_allowed_and_no_more(n_in_flight):
    meeting = threading.Barrier(n_in_flight)  # passes only if so many are there at once
    lock, now, most = threading.Lock(), [0], [0]

    def work(i):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        meeting.wait(timeout=20)
        with lock:
            now[0] -= 1
        return i

    n = 3 * n_in_flight
    assert list(in_order(work, range(n), n_in_flight)) == list(range(n))
    assert most[0] == n_in_flight


def test_items_are_drawn_no_further_ahead_than_what_is_in_flight():
    drawn = []
    items = (drawn.append(i) or i for i in itertools.count())
    results = in_order(lambda i: i, items, 3)
    assert next(results) == 0
    assert len(drawn) == 3
    assert next(results) == 1
    assert len(drawn) == 4
    results.close()
    assert len(drawn) == 4


def test_those_in_flight_are_waited_for_where_one_fails():
    all_begun, done = threading.Barrier(3), []

    def work(i):
        if i < 3:
            all_begun.wait(20)
        if i == 0:
            raise ValueError("first")
        time.sleep(0.2)
        done.append(i)
        return i

    with pytest.raises(ValueError, match="first"):
        list(in_order(work, range(9), 3))
    assert sorted(done) == [1, 2]  # and none of the others was begun


def test_none_is_begun_after_one_that_is_not_yet_due_has_failed():
    begun = []

    def work(i):
        begun.append(i)
        if i == 1:
            raise ValueError("second")
        time.sleep(0.3 if i == 0 else 0)
        return i

    def items():
        for i in range(9):
            if i == 2:
                time.sleep(0.1)  # the second fails before the third is asked for
            yield i

    results = in_order(work, items(), 4)
    assert next(results) == 0
    with pytest.raises(ValueError, match="second"):
        next(results)
    assert max(begun) <= 2


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_those_in_flight_are_waited_for_where_the_caller_is_interrupted(interrupt):
    done = []

    def items():
        yield 0
        yield 1
        raise interrupt

    def work(i):
        time.sleep(0.05)
        done.append(i)
        return i

    with pytest.raises(interrupt):
        list(in_order(work, items(), 4))
    assert sorted(done) == [0, 1]


def test_those_in_flight_are_waited_for_where_the_caller_loses_interest():
    done = []

    def work(i):
        time.sleep(0.02 * (i > 0))
        done.append(i)
        return i

    results = in_order(work, range(100), 3)
    next(results)
    results.close()
    assert 0 in done
    assert len(done) <= 3
    n_done = len(done)
    time.sleep(0.1)
    assert len(done) == n_done
    assert not [t for t in threading.enumerate() if "ThreadPool" in t.name]


def test_an_interrupt_of_a_worker_reaches_the_caller():
    def work(i):
        if i == 2:
            raise KeyboardInterrupt
        return i

    results = in_order(work, range(9), 4)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(KeyboardInterrupt):
        next(results)


@pytest.fixture
def store(tmp_path):
    store = EmbeddingStore(tmp_path / "store.sqlite", "0123456789abcdef")
    yield store
    store.close()


def pixels_of(*values):
    return np.array(values, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2), np.uint8)


def test_the_store_is_asked_first_and_gets_what_comes(store):
    asked = []

    def request(pixels):
        asked.append(pixels[:, 0, 0, 0].tolist())
        return np.stack([pixels[:, 0, 0, 0], 2.0 * pixels[:, 0, 0, 0]], axis=1).astype(np.float32)

    for values, expected in (
        ([3, 1, 2], [[3, 1, 2]]),
        ([2, 5, 3], [[5]]),
        ([1, 2], []),
        ([7, 1, 7, 6, 7], [[7, 6]]),
    ):
        asked.clear()
        found = through_store(store, pixels_of(*values), request)
        np.testing.assert_array_equal(found, np.array([[v, 2 * v] for v in values], np.float32))
        assert asked == expected
    assert len(store.get(pixel_keys(pixels_of(1, 2, 3, 5, 6, 7)))) == 6


def test_a_request_that_fails_leaves_the_store_as_it_was(store):
    def request(pixels):
        raise OSError("no service")

    with pytest.raises(OSError, match="no service"):
        through_store(store, pixels_of(1, 2), request)
    assert store.get(pixel_keys(pixels_of(1, 2))) == {}


def test_an_image_of_another_type_or_shape_is_another_image(store):
    through_store(store, pixels_of(1), lambda pixels: np.ones((1, 1), np.float32))
    for other in (pixels_of(1).astype(np.uint16), pixels_of(1).reshape(1, 1, 1, 4)):
        assert store.get(pixel_keys(other)) == {}
