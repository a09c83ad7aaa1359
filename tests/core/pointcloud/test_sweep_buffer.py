"""SweepBuffer: the sweeps nearest to the ages the model was trained with."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.pointcloud.sweep_buffer import SweepBuffer
from lidarloop_core.sample import Sweep

MS = 1_000_000


def sweep(stamp_ms: float) -> Sweep:
    return Sweep(np.zeros((0, 3), np.float32), ("x", "y", "z"), round(stamp_ms * MS), SE3.identity(), SE3.identity())


def ages_ms(buffer: SweepBuffer, stamps_ms: list[float]) -> list[float]:
    """Feeds all but the last and selects for the last."""
    for stamp_ms in stamps_ms[:-1]:
        buffer.keep(sweep(stamp_ms))
    newest = sweep(stamps_ms[-1])
    return [(newest.stamp_ns - chosen.stamp_ns) / MS for chosen in buffer.select(newest)]


def test_takes_the_sweeps_before() -> None:
    assert ages_ms(SweepBuffer(3, 0.1), [1000, 1100, 1200, 1300]) == [0, 100, 200]


def test_one_sweep_needs_no_other() -> None:
    assert ages_ms(SweepBuffer(1, 0.1), [1000, 1100, 1200]) == [0]


def test_passes_over_the_sweeps_of_a_faster_lidar() -> None:
    assert ages_ms(SweepBuffer(3, 0.1), [1000 + 50 * i for i in range(7)]) == [0, 100, 200]


def test_a_lost_sweep_leaves_its_place_empty() -> None:
    assert ages_ms(SweepBuffer(3, 0.1), [1000, 1200]) == [0, 200]
    assert ages_ms(SweepBuffer(3, 0.1), [1000, 1400]) == [0]


def test_the_same_stamp_twice_is_no_other_sweep() -> None:
    assert ages_ms(SweepBuffer(3, 0.1), [1000, 1000, 1000]) == [0]


def test_a_sweep_without_a_pose_is_used_alone_and_not_kept() -> None:
    lost = dataclasses.replace(sweep(1100), world_SE3_ego=None)
    buffer = SweepBuffer(3, 0.1)
    buffer.keep(sweep(1000))
    assert buffer.select(lost) == [lost]
    assert buffer.keep(lost) == [lost]
    assert ages_ms(buffer, [1200]) == [0, 200]


def test_clear_forgets() -> None:
    buffer = SweepBuffer(3, 0.1)
    kept = sweep(1000)
    buffer.keep(kept)
    assert buffer.clear() == [kept]
    assert ages_ms(buffer, [1100]) == [0]


def test_what_is_too_old_is_handed_back() -> None:
    buffer = SweepBuffer(2, 0.1)
    sweeps = [sweep(1000 + 100 * i) for i in range(4)]
    assert [buffer.keep(s) for s in sweeps] == [[], [], [], [sweeps[0]]]


def test_sweeps_change_hands() -> None:
    before, after = SweepBuffer(3, 0.1), SweepBuffer(3, 0.1)
    before.keep(sweep(1000))
    after.adopt(before)
    assert ages_ms(after, [1100]) == [0, 100]
    assert ages_ms(before, [1100]) == [0]


@given(
    st.lists(st.integers(5, 400), min_size=1, max_size=60),
    st.integers(1, 10),
)
def test_any_timing_gives_distinct_sweeps_near_their_nominal_ages(gaps_ms: list[int], num_sweeps: int) -> None:
    buffer = SweepBuffer(num_sweeps, 0.1)
    stamps_ms = [float(t) for t in np.cumsum(gaps_ms)]
    ages = ages_ms(buffer, stamps_ms)
    assert ages[0] == 0
    assert ages == sorted(set(ages))
    assert len(ages) <= num_sweeps
    for age in ages[1:]:
        assert abs(age - round(age / 100) * 100) <= 50
    # Nothing that could have filled an empty place was overlooked.
    all_ages = [stamps_ms[-1] - t for t in stamps_ms[:-1]]
    for place in range(1, num_sweeps):
        possible = [a for a in all_ages if abs(a - 100 * place) < 50]
        chosen = [a for a in ages[1:] if abs(a - 100 * place) < 50]
        assert bool(possible) <= bool(chosen)
