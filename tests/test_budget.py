"""The count of the images that are sent, and its bound."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skdne.budget import BudgetExhaustedError, QueryBudget


def test_without_a_limit_it_counts():
    budget = QueryBudget()
    budget.reserve(5)
    budget.spend(10**9)
    budget.spend(1)
    assert budget.spent == 10**9 + 1


def test_what_is_reserved_is_kept():
    budget = QueryBudget(10)
    budget.reserve(4)
    budget.spend(6)
    with pytest.raises(BudgetExhaustedError, match=r"1 more images would exceed max_queries=10 "
                                                   r"\(6 asked for, 0 sent, 4 kept"):  # fmt: skip
        budget.spend(1)
    budget.release()
    budget.spend(4)
    assert budget.spent == 10


@given(st.integers(0, 50), st.lists(st.integers(0, 20), max_size=20), st.integers(0, 10))
def test_the_limit_is_never_passed_and_a_refused_query_costs_nothing(limit, queries, reserved):
    budget = QueryBudget(limit)
    budget.reserve(reserved)
    expected = 0
    for n in queries:
        if expected + n + reserved <= limit:
            budget.spend(n)
            expected += n
        else:
            with pytest.raises(BudgetExhaustedError):
                budget.spend(n)
        assert budget.spent == expected


def test_what_was_sent_again_counts_where_something_is_to_be_asked_for():
    budget = QueryBudget(10)
    budget.spend(4)
    budget.send(4)
    budget.send(4)  # again
    budget.require(2)
    for refused in (budget.require, budget.spend, budget.send):
        with pytest.raises(BudgetExhaustedError, match=r"\(4 asked for, 8 sent"):
            refused(3)
    assert (budget.spent, budget.sent) == (4, 8)


@given(st.integers(0, 60), st.integers(1, 5))
def test_threads_do_not_pass_the_limit_together(limit, n):
    budget = QueryBudget(limit)

    def send():
        try:
            while True:
                budget.send(n)
        except BudgetExhaustedError:
            pass

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert budget.sent == limit // n * n
