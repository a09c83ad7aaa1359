from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import ConfigError
from lidarloop_core.geometry.boxes import Boxes3D, wrap_angle
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.tracking.tracker import Tracker, TrackerConfig, Tracks

CAR, TRUCK, PEDESTRIAN = (NUSCENES_CLASSES.index(name) for name in ("car", "truck", "pedestrian"))
STEP_NS = 100_000_000
BLIND = TrackerConfig(velocity_mps=math.inf)


def boxes(rows: list[tuple[float, float, float, float, float]], label: int = CAR, score: float = 0.6) -> Boxes3D:
    """From x, y, yaw, vx, vy."""
    values = [(x, y, 0.5, 4.5, 1.8, 1.5, yaw, vx, vy) for x, y, yaw, vx, vy in rows]
    count = len(values)
    array = np.array(values, np.float32).reshape(-1, 9)
    return Boxes3D(array, np.full(count, score), np.full(count, label), NUSCENES_CLASSES)


def town(random: np.random.Generator, num_frames: int, num: int = 12) -> list[Boxes3D]:
    """Detections of cars that drive or stand 8 m apart, some missed."""
    speed = random.choice([0.0, 6.0, 9.0], num)
    frames = []
    for k in range(num_frames):
        noise = random.normal(0, 0.1, (num, 2))
        rows = [(speed[i] * k * 0.1 + noise[i, 0], 8.0 * i + noise[i, 1], 0.0, 0.0, 0.0) for i in range(num)]
        frames.append(boxes([row for row in rows if random.random() < 0.9]))
    return frames


def run(frames: list[Boxes3D], config: TrackerConfig = BLIND) -> list[Tracks]:
    tracker = Tracker(config)
    return [tracker.update(k * STEP_NS, frame) for k, frame in enumerate(frames)]


def by_id(tracks: Tracks) -> dict[int, npt.NDArray[np.float32]]:
    return dict(zip(tracks.ids.tolist(), tracks.boxes.values, strict=True))


def test_every_car_keeps_its_id_and_gets_its_velocity() -> None:
    tracks = run(town(np.random.default_rng(0), 60))
    assert len({i for t in tracks for i in t.ids.tolist()}) == 12
    lanes: dict[int, set[int]] = {}
    for frame in tracks:
        for track_id, value in by_id(frame).items():
            lanes.setdefault(track_id, set()).add(round(value[1] / 8))
    assert all(len(lane) == 1 for lane in lanes.values())
    last = tracks[-1]
    speeds = last.boxes.velocities[:, 0]
    assert all(min(abs(v - truth) for truth in (0, 6, 9)) < 0.6 for v in speeds)
    assert (last.num_hits > 45).all()
    assert last.ages_s == pytest.approx(5.9, abs=0.5)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000))
def test_the_order_of_detections_does_not_matter(seed: int) -> None:
    random = np.random.default_rng(seed)
    frames = town(random, 12)
    shuffled = [frame[random.permutation(len(frame))] for frame in frames]
    for a, b in zip(run(frames), run(shuffled), strict=True):
        first, second = (np.array(sorted(map(tuple, t.boxes.values))) for t in (a, b))
        np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-5)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000), st.floats(-3, 3), st.floats(-200, 200))
def test_a_world_that_is_turned_and_shifted_turns_and_shifts_the_tracks(
    seed: int, yaw_rad: float, shift: float
) -> None:
    frames = town(np.random.default_rng(seed), 12)
    move = SE3.from_yaw(yaw_rad, (shift, -shift, 1.0))
    for a, b in zip(run(frames), run([f.transformed(move) for f in frames]), strict=True):
        np.testing.assert_array_equal(a.ids, b.ids)
        difference = a.boxes.transformed(move).values - b.boxes.values
        difference[:, 6] = wrap_angle(difference[:, 6])  # -π and π are one heading
        np.testing.assert_allclose(difference, 0.0, atol=2e-3)


def test_a_track_is_believed_after_some_hits_or_at_once_if_sure() -> None:
    frames = [boxes([(0, 0, 0, 0, 0)], score=0.4)] * 4
    assert [len(t) for t in run(frames)] == [0, 0, 1, 1]
    assert [len(t) for t in run([boxes([(0, 0, 0, 0, 0)], score=0.95)] * 2)] == [1, 1]


def test_a_weak_detection_starts_nothing_but_continues() -> None:
    weak, strong = boxes([(0, 0, 0, 0, 0)], score=0.15), boxes([(0, 0, 0, 0, 0)], score=0.6)
    assert not any(len(t) for t in run([weak] * 10))
    tracks = run([strong, strong, strong, weak])
    assert tracks[-1].ids.tolist() == tracks[-2].ids.tolist() == [0]


def test_a_missed_car_coasts_and_comes_back_under_its_id() -> None:
    frames = [boxes([(0.8 * k, 0, 0, 0, 0)]) for k in range(20)]
    for k in (10, 11, 12):
        frames[k] = boxes([])
    hidden = run(frames)
    assert [len(t) for t in hidden[10:13]] == [0, 0, 0]
    assert hidden[13].ids.tolist() == hidden[9].ids.tolist()
    shown = run(frames, replace(BLIND, output_coasting=True))
    assert [len(t) for t in shown[10:13]] == [1, 1, 1]
    np.testing.assert_allclose(shown[12].boxes.values[0, 0], 0.8 * 12, atol=0.5)
    assert shown[12].coasted_s == pytest.approx([0.3])
    assert shown[12].boxes.scores[0] < shown[9].boxes.scores[0]


def test_a_car_gone_for_good_is_forgotten() -> None:
    frames = [boxes([(0, 0, 0, 0, 0)])] * 5 + [boxes([])] * 15 + [boxes([(0, 0, 0, 0, 0)])] * 5
    tracks = run(frames)
    assert tracks[4].ids.tolist() == [0]
    assert tracks[-1].ids.tolist() == [1]


@pytest.mark.parametrize("jump_ns", [-5 * STEP_NS, -(10**15), 30 * STEP_NS])
def test_a_jump_in_time_ends_all_tracks(jump_ns: int) -> None:
    tracker = Tracker(BLIND)
    for k in range(5):
        before = tracker.update(10**16 + k * STEP_NS, boxes([(0, 0, 0, 0, 0)]))
    start = 10**16 + 5 * STEP_NS + jump_ns
    after = [tracker.update(start + k * STEP_NS, boxes([(0, 0, 0, 0, 0)])) for k in range(3)]
    assert before.ids.tolist() == [0]
    assert [t.ids.tolist() for t in after] == [[], [], [1]]


def test_clear_forgets_but_gives_no_id_twice() -> None:
    tracker = Tracker(replace(BLIND, min_hits=1))
    first = tracker.update(0, boxes([(0, 0, 0, 0, 0)]))
    tracker.clear()
    second = tracker.update(STEP_NS, boxes([(0, 0, 0, 0, 0)]))
    assert (first.ids.tolist(), second.ids.tolist()) == ([0], [1])


def test_the_class_is_the_one_named_with_most_confidence() -> None:
    car, truck = boxes([(0, 0, 0, 0, 0)], CAR, 0.7), boxes([(0, 0, 0, 0, 0)], TRUCK, 0.5)
    tracks = run([car, truck, car, truck, car, truck])
    assert tracks[-1].ids.tolist() == [0]
    assert tracks[-1].boxes.names == ["car"]


def test_a_pedestrian_never_becomes_a_car() -> None:
    walker = boxes([(0, 0, 0, 0, 0)], PEDESTRIAN)
    tracks = run([walker] * 4 + [boxes([(0, 0, 0, 0, 0)])] * 4)
    assert tracks[3].boxes.names == ["pedestrian"]
    assert tracks[-1].boxes.names == ["car"]
    assert tracks[-1].ids.tolist() != tracks[3].ids.tolist()


def test_a_box_flipped_by_the_detector_does_not_turn_the_track() -> None:
    frames = [boxes([(0.9 * k, 0, math.pi if k % 3 == 1 else 0.0, 0, 0)]) for k in range(12)]
    assert run(frames)[-1].boxes.yaws == pytest.approx([0], abs=0.05)


def test_motion_tells_the_front() -> None:
    frames = [boxes([(-0.9 * k, 0, 0.0, 0, 0)]) for k in range(12)]
    assert abs(run(frames)[-1].boxes.yaws[0]) == pytest.approx(math.pi, abs=0.05)


def test_measured_velocities_are_taken_at_once() -> None:
    config = TrackerConfig(min_hits=1, velocity_mps=0.3)
    tracks = run([boxes([(0, 0, 0, 8, 0)])], config)
    assert tracks[0].boxes.velocities[0] == pytest.approx([8, 0], abs=0.2)
    unknown = run([boxes([(0, 0, 0, math.nan, math.nan)])], config)
    assert unknown[0].boxes.velocities[0] == pytest.approx([0, 0])


def test_an_empty_scene() -> None:
    tracks = run([Boxes3D.empty(NUSCENES_CLASSES)] * 3)
    assert [len(t) for t in tracks] == [0, 0, 0]
    assert tracks[0].boxes.class_names == NUSCENES_CLASSES


def test_what_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        Tracker().update(0, boxes([(math.nan, 0, 0, 0, 0)]))


@pytest.mark.parametrize(
    "wrong", [{"min_hits": 0}, {"max_coast_s": 0.0}, {"velocity_mps": -1.0}, {"memory_s": math.nan}]
)
def test_wrong_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        TrackerConfig(**wrong)  # type: ignore[arg-type]
