import math
from functools import partial

import pytest

from diffnas.components.gates import FALLING
from diffnas.components.schedule import Moment, cosine, geometric, linear, rekindled, slowing_line, value
from diffnas.components.supernet_options import FADING
from diffnas.components.weighting import ANNEALING, COOLING, SHARPENING
from diffnas.method import component


def at(epoch: int, step: int = 0, *, epochs: int = 10, steps: int = 5) -> Moment:
    return Moment(epoch=epoch, step=step, epochs=epochs, steps=steps)


def test_the_fraction_counts_steps_from_zero_and_stays_below_one():
    assert at(0).fraction == 0
    assert at(5).fraction == 0.5
    assert at(9, 4).fraction == pytest.approx(49 / 50)


def test_a_plain_number_is_its_own_schedule():
    assert value(3.0, at(4)) == 3.0
    assert value(partial(linear, start=0.0, stop=1.0), at(5)) == 0.5


@pytest.mark.parametrize(
    ("moment", "every", "expected"),
    [(at(0), "step", 1.0), (at(3), "step", 2.0), (at(3, 4), "step", 1 + 2 * (19 / 50) / 0.6), (at(3, 4), "epoch", 2.0)],
)
def test_a_line_rises_step_by_step_or_epoch_by_epoch(moment: Moment, every, expected: float):
    assert linear(moment, start=1.0, stop=3.0, until=0.6, every=every) == pytest.approx(expected)


def test_a_line_stays_at_its_stop():
    assert linear(at(6), start=1.0, stop=3.0, until=0.6) == 3.0
    assert linear(at(9, 4), start=1.0, stop=3.0, until=0.6) == 3.0


def test_the_cosine_is_the_closed_form_of_every_epoch():
    rates = [cosine(at(epoch, step, epochs=50), start=0.025, stop=0.001) for epoch in range(50) for step in (0, 3)]
    closed = [0.001 + 0.024 * (1 + math.cos(math.pi * epoch / 50)) / 2 for epoch in range(50) for _ in (0, 3)]
    assert rates == pytest.approx(closed)
    assert rates[0] == 0.025
    assert rates[-1] > 0.001


def test_the_temperature_of_asap_falls_by_a_twentieth_an_epoch_and_below_one_in_the_tenth():
    hot = [ANNEALING(at(epoch, epochs=50)) for epoch in range(50)]
    assert hot == pytest.approx([1.6 * 0.95**epoch for epoch in range(50)])
    assert [epoch for epoch in range(50) if hot[epoch] >= 1] == list(range(10))


def test_a_geometric_schedule_goes_through_the_same_values_in_a_run_of_another_length():
    fall = partial(geometric, start=1.6, factor=0.95)
    assert [fall(at(epoch, epochs=5)) for epoch in range(5)] == pytest.approx(
        [fall(at(10 * epoch, 3, epochs=50)) for epoch in range(5)]
    )
    assert [fall(at(epoch, epochs=100)) for epoch in (0, 2, 20)] == pytest.approx(
        [fall(at(epoch, epochs=50)) for epoch in (0, 1, 10)]
    )


# The value in the last epoch, by the formula of the paper or of its released code, e counting epochs from 0.
LAST = {
    "DARTS, learning rate: cosine of e / E": (
        partial(cosine, start=0.025, stop=0.001),
        50,
        0.001 + 0.012 * (1 + math.cos(math.pi * 49 / 50)),
    ),
    "DARTS-, skip beside: 1 - e / E": (FADING, 50, 0.02),
    "DARTS-, cosine of e / E": (
        component("supernet", "auxiliary-skip-cosine").auxiliary,
        50,
        (1 + math.cos(math.pi * 49 / 50)) / 2,
    ),
    "DARTS-, cosine of e / 2E": (
        component("supernet", "auxiliary-skip-late-cosine").auxiliary,
        50,
        math.cos(math.pi * 49 / 100),
    ),
    "GDAS, temperature: 10 - 9.9 e / (E - 1)": (COOLING, 250, 0.1),
    "SNAS, temperature: from 1 to 0.03": (SHARPENING, 150, 0.03),
    "Path-regularized DARTS, temperature: 1 - 0.9 e / (E - 1)": (FALLING, 200, 0.1),
    "the same in a short run": (FALLING, 10, 0.1),
    "ASAP, temperature: 1.6 x 0.95^e": (ANNEALING, 50, 1.6 * 0.95**49),
    "P-DARTS, dropout of skips: 0.4 exp(-0.2 (e - 10))": (
        partial(rekindled, starts=(0.4,)),
        25,
        0.4 * math.exp(-0.2 * 14),
    ),
    "ImageNet, learning rate: 0.1 (E - e) / (245 x 5)": (
        partial(slowing_line, start=0.1, stop=0.0),
        250,
        0.1 / (245 * 5),
    ),
}


@pytest.mark.parametrize(("schedule", "epochs", "expected"), LAST.values(), ids=LAST)
def test_the_last_epoch_has_the_published_value(schedule, epochs: int, expected: float):
    assert schedule(at(epochs - 1, 2, epochs=epochs)) == pytest.approx(expected)


def test_a_slowing_line_falls_as_written_out_for_imagenet():
    """250 epochs: 0.1 (245 - epoch) / 245, and 0.1 (250 - epoch) / (245 x 5) in the last five."""
    rates = [slowing_line(at(epoch, 3, epochs=250), start=0.1, stop=0.0) for epoch in range(250)]
    straight = [0.1 * (245 - epoch) / 245 for epoch in range(245)]
    slow = [0.1 * (250 - epoch) / (245 * 5) for epoch in range(245, 250)]
    assert rates == pytest.approx(straight + slow)
    assert rates == sorted(rates, reverse=True)


def test_a_slowing_line_shorter_than_its_tail_stays_between_its_ends():
    rates = [slowing_line(at(epoch, epochs=3), start=0.5, stop=0.1) for epoch in range(3)]
    assert rates == sorted(rates, reverse=True)
    assert all(0.1 < rate <= 0.5 for rate in rates)
