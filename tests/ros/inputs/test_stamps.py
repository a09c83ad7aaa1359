"""StampGate: which stamps let a cloud in."""

from __future__ import annotations

import pytest

from lidarloop_ros.inputs.stamps import StampCourse, StampGate

S = 1_000_000_000
NOW = 1_800_000_000 * S
DAY = 86_400 * S


def gate(now_ns: int = NOW, max_age_s: float = 1.0) -> StampGate:
    return StampGate(lambda: now_ns, max_age_s=max_age_s)


@pytest.mark.parametrize(
    ("stamp_ns", "said"),
    [
        (NOW, ""),
        (NOW - S, ""),
        (NOW - S - 1, "stale: stamped 1.000 s ago, max_age_s is 1"),
        (NOW - DAY, "stale"),
        (NOW - DAY - 1, ""),
        (NOW + S // 10, ""),
        (NOW + S // 10 + 1, "from the future: stamped 0.100 s ahead"),
        (NOW + 9 * DAY, "from the future"),
        (0, "stamp is 0"),
    ],
)
def test_a_stamp_is_accepted_or_refused_with_the_reason(stamp_ns: int, said: str) -> None:
    refusal = gate().refusal(stamp_ns)
    assert bool(refusal) == bool(said)
    assert said in refusal


def test_a_stamp_of_another_clock_is_accepted_and_reported_until_one_of_this_clock_comes() -> None:
    judge = gate()
    assert judge.refusal(NOW - 3 * DAY) == ""
    assert "3 days behind" in judge.clock_problem
    assert judge.age_ms(NOW - 3 * DAY) is None
    assert judge.refusal(NOW - S // 2) == ""
    assert judge.clock_problem == ""
    assert judge.age_ms(NOW - S // 2) == 500.0


def test_without_a_clock_nothing_is_judged_but_duplicates_and_zero() -> None:
    for judge in (gate(now_ns=0), gate(max_age_s=0.0)):
        assert judge.refusal(5 * S) == ""
        assert judge.age_ms(5 * S) is None
        assert "duplicate" in judge.refusal(5 * S)
        assert judge.refusal(4 * S) == "", "going back is for the sweeps to notice"
        assert judge.refusal(0)
        judge.reset()
        assert judge.refusal(4 * S) == ""
    without_clock = gate(now_ns=0)
    assert without_clock.refusal(S) == ""
    assert "/clock has no publisher" in without_clock.clock_problem


def test_a_refused_stamp_does_not_count_as_the_one_before() -> None:
    judge = gate()
    assert judge.refusal(NOW) == ""
    assert "stale" in judge.refusal(NOW - 2 * S)
    assert "duplicate" in judge.refusal(NOW)


def courses(*stamps_s: float) -> list[str]:
    course = StampCourse()
    return [course.follow(round((1000 + stamp_s) * S)) for stamp_s in stamps_s]


def test_stamps_that_start_over_go_back_once() -> None:
    assert courses(5.0, 5.1, 5.05, 0.0, 0.1, 5.1, 5.2) == ["on", "on", "on", "back", "on", "on", "on"]


def test_a_short_recording_that_is_looped_with_gaps_is_no_second_clock() -> None:
    one_pass = (0.0, 0.1, 0.3, 1.0, 1.9, 2.0)
    assert courses(*one_pass * 3) == ["on"] * 6 + (["back"] + ["on"] * 5) * 2


@pytest.mark.parametrize("apart_s", [0.7, 6.0, 1e6])
def test_two_clocks_that_take_turns_start_nothing_over_but_the_first_time(apart_s: float) -> None:
    turns = [stamp_s for i in range(20) for stamp_s in (2e6 + 0.1 * i, 2e6 + 0.1 * i - apart_s)]
    course = StampCourse()
    found = [course.follow(round(stamp_s * S)) for stamp_s in turns]
    assert found[:2] == ["on", "back"]
    assert set(found[2:]) == {"other"}
    assert course.apart_s == pytest.approx(apart_s, abs=0.11)
    assert f"~/in has messages of two clocks, {course.apart_s:.3f} s apart" in course.problem("~/in")
    assert StampCourse().problem("~/in") == ""
