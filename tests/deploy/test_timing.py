from collections.abc import Callable

import pytest

from diffnas.deploy.timing import FEWEST, ROUNDS, Clock, fit, time_all


class FakeClock:
    """A clock that only calls move, and a list of who called."""

    def __init__(self, busy: float = 1.0) -> None:
        self.now, self.busy, self.called = 0.0, busy, list[str]()

    def call(self, name: str, seconds: list[float]) -> Callable[[], None]:
        """A call that takes the given times one after the other, and the last one ever after."""
        left = iter(seconds)
        last = seconds[-1]

        def calling() -> None:
            self.called.append(name)
            self.now += next(left, last)

        return calling

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.now, lambda: self.now / self.busy)


def test_the_least_of_the_rounds_counts_and_the_first_calls_do_not():
    fake = FakeClock()
    # The first call packs weights; later one round is slow.
    call = fake.call("a", [9.0, 2.0, 1.0, 1.0, 5.0, 1.0])
    timed = time_all({"a": call}, fake.clock)["a"]
    assert timed.seconds == 1.0
    assert timed.median == 1.0
    assert not timed.busy
    assert fake.called.count("a") == 4 + ROUNDS


def test_warming_up_takes_three_calls_at_the_least_and_ends_at_all():
    fake = FakeClock()
    time_all({"a": fake.call("a", [1.0])}, fake.clock)
    assert len(fake.called) == FEWEST + ROUNDS
    restless = FakeClock()
    time_all({"a": restless.call("a", [float(1 + k % 2) for k in range(100)])}, restless.clock)
    assert len(restless.called) == 30 + ROUNDS


def test_a_round_of_short_calls_lasts_thirty_milliseconds():
    fake = FakeClock()
    time_all({"a": fake.call("a", [0.001])}, fake.clock)
    assert len(fake.called) == FEWEST + 30 * ROUNDS


def test_calls_are_timed_in_turn():
    fake = FakeClock()
    time_all({"a": fake.call("a", [1.0]), "b": fake.call("b", [2.0])}, fake.clock)
    assert "".join(fake.called[2 * FEWEST :]) == "ab" * ROUNDS


def test_on_a_busy_machine_processor_time_counts_and_calls_are_timed_again():
    fake = FakeClock(busy=2.0)
    timed = time_all({"a": fake.call("a", [1.0])}, fake.clock)["a"]
    assert timed.busy
    assert timed.seconds == 0.5
    assert len(fake.called) == FEWEST + 2 * ROUNDS


def test_a_line_is_found_exactly():
    sums = [1.0, 2.0, 3.5, 4.0, 7.0]
    line = fit(sums, [0.5 * each + 15.0 for each in sums])
    assert line.slope == pytest.approx(0.5)
    assert line.offset == pytest.approx(15.0)
    assert line.error == pytest.approx(0.0, abs=1e-12)


def test_fewer_than_three_networks_or_a_falling_line_give_the_offset_alone():
    assert fit([1.0, 2.0], [3.0, 6.0])[:2] == (1.0, 3.0)
    assert fit([1.0, 2.0, 3.0], [3.0, 2.0, 1.0])[:2] == (1.0, 0.0)
    assert fit([2.0, 2.0, 2.0], [3.0, 3.0, 3.0])[:2] == (1.0, 1.0)
