"""How much one caller may have."""

from hypothesis import given
from hypothesis import strategies as st

from jackfield.app.limits import BURST, Count, Rate


@given(st.floats(0.1, 2000), st.lists(st.floats(0, 30), max_size=200))
def test_a_rate_is_kept_whatever_the_moments(per_second: float, pauses: list[float]) -> None:
    """In no stretch of time are there more than the burst and what the rate has given since."""
    now, taken = [0.0], []
    rate = Rate(per_second, lambda: now[0])
    for pause in pauses:
        now[0] += pause
        wait = rate.take("a")
        if wait == 0:
            taken.append(now[0])
        else:
            assert wait > 0
    for first, begin in enumerate(taken):
        most = max(per_second * BURST, 1) + (taken[-1] - begin) * per_second
        assert len(taken) - first <= most + 1e-6


def test_who_has_waited_as_told_is_let_in() -> None:
    """The wait that is told is enough, and not a burst longer than needed."""
    now = [0.0]
    rate = Rate(2, lambda: now[0])
    assert [rate.take("a") for _ in range(20)] == [0.0] * 20
    wait = rate.take("a")
    assert 0 < wait <= 0.5
    assert rate.take("b") == 0
    now[0] += wait
    assert rate.take("a") == 0
    assert rate.take("a") > 0


def test_callers_are_forgotten() -> None:
    """A million addresses that came once are not kept for ever."""
    now = [0.0]
    rate = Rate(1000, lambda: now[0])
    for number in range(1000):
        rate.take(str(number))
    now[0] += 2 * BURST
    rate.take("last")
    assert len(rate) == 1


def test_what_is_given_back_can_be_taken_again() -> None:
    """At the limit one more is refused; a caller that has none is not kept."""
    count = Count(2)
    assert [count.take("a"), count.take("a"), count.take("a"), count.take("b")] == [True, True, False, True]
    count.give("a")
    assert count.take("a")
    for _ in range(2):
        count.give("a")
    count.give("b")
    assert len(count) == 0
