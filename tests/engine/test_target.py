import pytest

from diffnas.engine.target import Target, amount, parse, parse_family


@pytest.mark.parametrize(
    ("text", "cost", "value", "ceiling"),
    [
        ("macs=20M", "macs", 20e6, False),
        ("macs<=1.5G", "macs", 1.5e9, True),
        ("params = 500k", "params", 5e5, False),
        ("params=123456", "params", 123456, False),
        ("memory=8MiB", "memory", 8 * 2**20, False),
        ("latency=5ms", "latency", 5e-3, False),
        ("latency<=800us", "latency", 8e-4, True),
    ],
)
def test_a_target_is_read_in_its_unit_and_said_as_it_was_typed(text: str, cost: str, value: float, ceiling: bool):
    (target,) = parse(text)
    assert target == Target(cost=cost, value=pytest.approx(value), ceiling=ceiling)
    assert parse(str(target)) == (target,)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mac=3M", "unknown cost 'mac'. Did you mean 'macs'?"),
        ("macs", "write macs=20M, params=500k, memory=8MiB, latency=5ms, or <= for a ceiling."),
        ("", "the target '' cannot be read"),
        ("macs>=3M", "cannot be read"),
        ("macs<3M", "cannot be read"),
        ("macs=", "macs takes a number with G, M, k or nothing after it, such as macs=20M."),
        ("macs=20 m", "the target 'macs=20 m' cannot be read: macs takes a number with G, M, k"),
        ("latency=5 m", "latency takes a number with s, ms, us after it, such as latency=5ms."),
        ("latency=5", "latency takes a number with s, ms, us after it"),
        ("memory=8M", "memory takes a number with GiB, MiB, KiB after it"),
        ("macs=0", "must be a number above 0"),
        ("macs=-3M", "must be a number above 0"),
        ("macs=nan", "must be a number above 0"),
        ("macs=inf", "must be a number above 0"),
        ("macs=1.2.3", "must be a number above 0"),
        ("macs=1e30", "must be a number above 0"),
        ("macs=2M,macs=3M", "names macs twice"),
    ],
)
def test_a_target_that_cannot_be_is_refused_in_one_line(text: str, said: str):
    with pytest.raises(ValueError) as error:
        parse(text)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_target_is_met_within_five_percent_and_a_ceiling_only_from_below():
    (target,) = parse("macs=100")
    assert [target.met(cost) for cost in (94, 95, 105, 106)] == [False, True, True, False]
    (ceiling,) = parse("macs<=100")
    assert [ceiling.met(cost) for cost in (10, 100, 101)] == [True, True, False]
    assert ceiling.distance(10) < ceiling.distance(101)


def test_a_family_names_one_cost_several_times():
    assert [str(target) for target in parse_family("5M, 2M,10M")] == ["macs=2M", "macs=5M", "macs=10M"]
    assert [str(target) for target in parse_family("latency=2ms,3ms")] == ["latency=2ms", "latency=3ms"]
    for text in ("2M", "macs=2M,params=3k", ""):
        with pytest.raises(ValueError, match=r"two or more|cannot be read"):
            parse_family(text)


def test_an_amount_is_said_in_a_unit_that_suits_it():
    assert amount("macs", 5e9) == "5 G multiply-adds"
    assert amount("params", 1234) == "1.23 k parameters"
    assert amount("latency", 5e-7) == "0.5 us of latency"
