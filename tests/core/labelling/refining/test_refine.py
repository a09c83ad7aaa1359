"""Refinement on small drives whose truth is known: a street with parked and driving cars, a walker, a cone."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.geometry.boxes import Boxes3D, wrap_angle
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.labelling.pseudo_labels import PseudoLabels
from lidarloop_core.labelling.refining.config import RefineConfig
from lidarloop_core.labelling.refining.refine import refine
from lidarloop_core.labelling.refining.rolling_shutter import RollingShutter

CAR, TRUCK, PEDESTRIAN, CONE = (NUSCENES_CLASSES.index(n) for n in ("car", "truck", "pedestrian", "traffic_cone"))
STEP_S = 0.5
NUM_FRAMES = 24
LIDAR_HEIGHT_M = 1.84


@dataclass(frozen=True)
class Thing:
    """A thing of the street: where it is at time 0, how it moves and what it is."""

    x: float
    y: float
    yaw: float
    speed_mps: float
    label: int
    size: tuple[float, float, float]

    def box(self, time_s: float) -> npt.NDArray[np.float64]:
        vx, vy = self.speed_mps * np.cos(self.yaw), self.speed_mps * np.sin(self.yaw)
        return np.array(
            [self.x + vx * time_s, self.y + vy * time_s, self.size[2] / 2, *self.size, self.yaw, vx, vy], np.float64
        )


PARKED = Thing(30, -5, 0.0, 0.0, CAR, (4.5, 1.8, 1.5))
NEIGHBOUR = Thing(36, -5, 0.0, 0.0, CAR, (4.5, 1.8, 1.5))
ONCOMING = Thing(70, 4, np.pi, 8.0, CAR, (4.5, 1.8, 1.5))
WALKER = Thing(25, -9, 0.3, 1.3, PEDESTRIAN, (0.7, 0.6, 1.75))
CONE_THING = Thing(40, -3, 0.0, 0.0, CONE, (0.3, 0.3, 0.7))
STREET = (PARKED, NEIGHBOUR, ONCOMING, WALKER, CONE_THING)


@dataclass
class Drive:
    """A drive with its labels, each row of which is of the thing of that index."""

    labels: list[PseudoLabels]
    stamps_ns: list[int]
    poses: list[SE3]
    things: list[npt.NDArray[np.int64]]

    def refined(self, config: RefineConfig | None = None, **kwargs: object) -> list[PseudoLabels]:
        return refine(self.labels, self.stamps_ns, self.poses, config, **kwargs)  # type: ignore[arg-type]

    def truth(self, thing: Thing, frame: int) -> npt.NDArray[np.float32]:
        """(9,) the thing's box in the LiDAR's frame."""
        box = Boxes3D(thing.box(frame * STEP_S)[None], np.ones(1), np.array([thing.label]), NUSCENES_CLASSES)
        return np.asarray(box.transformed(self.poses[frame].inverse()).values[0])


def drive(
    seed: int = 0,
    things: tuple[Thing, ...] = STREET,
    *,
    missed: float = 0.1,
    noise_m: float = 0.15,
    mislabelled: float = 0.0,
    world: SE3 | None = None,
) -> Drive:
    random = np.random.default_rng(seed)
    world = world or SE3.identity()
    made = Drive([], [], [], [])
    for k in range(NUM_FRAMES):
        pose = world @ SE3.from_yaw(0.02 * k, (3.0 * k * STEP_S, 0.1 * k, LIDAR_HEIGHT_M))
        seen = np.flatnonzero(random.random(len(things)) >= missed)
        values = np.array([things[i].box(k * STEP_S) for i in seen]).reshape(-1, 9)
        values[:, :2] += random.normal(0, noise_m, (len(seen), 2))
        values[:, 6] += random.normal(0, 0.02, len(seen))
        values[:, 7:] = 0.0
        labels = np.array([things[i].label for i in seen], np.int64)
        labels[(random.random(len(seen)) < mislabelled) & (labels == CAR)] = TRUCK
        scores = np.where(labels == TRUCK, 0.4, 0.8)
        boxes = Boxes3D(values, scores, labels, NUSCENES_CLASSES).transformed(world).transformed(pose.inverse())
        made.labels.append(with_evidence(boxes))
        made.stamps_ns.append(10**18 + round(k * STEP_S * 1e9))
        made.poses.append(pose)
        made.things.append(seen)
    return made


def with_evidence(boxes: Boxes3D, source: str = "lane") -> PseudoLabels:
    count = len(boxes)
    return PseudoLabels(
        boxes, np.full(count, 0.6, np.float32), np.full(count, 30), (("CAM_FRONT",),) * count, (source,) * count
    )


def nearest(labels: PseudoLabels, truth: npt.NDArray[np.float32]) -> tuple[float, int]:
    """Distance in the plane to the label nearest to a box, and its index."""
    distance = np.linalg.norm(labels.boxes.centers[:, :2] - truth[:2], axis=1)
    return float(distance.min(initial=np.inf)), int(distance.argmin()) if len(distance) else -1


def test_every_thing_has_one_label_in_every_frame_of_its_time() -> None:
    made = drive()
    refined = made.refined()
    for i, thing in enumerate(STREET):
        frames = [k for k in range(NUM_FRAMES) if i in made.things[k]]
        for k in range(frames[0], frames[-1] + 1):
            truth = made.truth(thing, k)
            if np.hypot(*truth[:2]) > 50:
                continue
            distance, row = nearest(refined[k], truth)
            assert distance < 0.5
            assert refined[k].boxes.labels[row] == thing.label
    assert all(len(frame) <= len(STREET) for frame in refined)


def test_what_stands_stands_still_and_truer_than_any_label_of_it() -> None:
    made = drive(noise_m=0.3)
    refined = made.refined()
    errors, places = [], []
    for k in range(NUM_FRAMES):
        distance, row = nearest(refined[k], made.truth(PARKED, k))
        if distance < 2:
            errors.append(distance)
            places.append(made.poses[k].transform(refined[k].boxes.centers[row : row + 1].astype(np.float64))[0])
            assert refined[k].boxes.velocities[row] == pytest.approx([0, 0], abs=1e-5)
    assert len(errors) > 15
    assert np.ptp(places, axis=0).max() < 1e-3
    assert max(errors) < 0.15  # single labels are 0.38 m off on average


def test_what_moves_gets_its_velocity_and_heading() -> None:
    made = drive(noise_m=0.1)
    for labels in made.labels:  # front and back are not known
        labels.boxes.values[:, 6] += np.pi * (np.arange(len(labels)) % 2)
    refined = made.refined()
    for thing in (ONCOMING, WALKER):
        errors = []
        for k in range(4, 16):
            truth = made.truth(thing, k)
            distance, row = nearest(refined[k], truth)
            assert distance < 1.0
            errors.append(np.linalg.norm(refined[k].boxes.velocities[row] - truth[7:9]))
            assert abs(wrap_angle(refined[k].boxes.yaws[row] - truth[6])) < 0.25
            assert refined[k].yaw_sources[row] == "track"
        assert np.mean(errors) < 0.5


def test_the_class_is_voted() -> None:
    made = drive(mislabelled=0.3)
    assert any(TRUCK in frame.boxes.labels for frame in made.labels)
    assert not any(TRUCK in frame.boxes.labels for frame in made.refined())
    assert any(TRUCK in f.boxes.labels for f in made.refined(RefineConfig(vote_class=False)))


def test_a_label_that_nothing_repeats_is_dropped_unless_it_is_sure() -> None:
    made = drive()
    ghost = np.array([[10, 20, 0, 4.5, 1.8, 1.5, 0, 0, 0]], np.float32)

    def with_ghost(score: float) -> list[PseudoLabels]:
        boxes = Boxes3D(
            np.concatenate([made.labels[9].boxes.values, ghost]),
            np.append(made.labels[9].boxes.scores, score),
            np.append(made.labels[9].boxes.labels, CAR),
            NUSCENES_CLASSES,
        )
        return replace(made, labels=[*made.labels[:9], with_evidence(boxes), *made.labels[10:]]).refined()

    weak, sure = with_ghost(0.3)[9], with_ghost(0.95)[9]
    assert nearest(weak, ghost[0])[0] > 2
    distance, row = nearest(sure, ghost[0])
    assert distance < 0.01
    assert sure.boxes.scores[row] < 0.5 * sure.boxes.scores.max()


def test_each_gap_is_filled_up_to_the_length_asked_for() -> None:
    made = drive(missed=0.0)
    for k in range(8, 11):  # from 3.5 s to 5.5 s
        made.labels[k] = PseudoLabels.empty(NUSCENES_CLASSES)
    assert all(len(frame) for frame in made.refined(RefineConfig(fill_gap_s=2.0))[8:11])
    assert not any(len(frame) for frame in made.refined(RefineConfig(fill_gap_s=1.9))[8:11])
    filled = made.refined()[9]
    assert set(filled.num_points.tolist()) == {0}
    assert set(filled.cameras) == {()}
    seen = made.refined()[6]
    for thing in (PARKED, CONE_THING):
        _, row = nearest(filled, made.truth(thing, 9))
        _, before = nearest(seen, made.truth(thing, 6))
        assert filled.quality[row] < seen.quality[before]


def cloud_of_boxes(boxes: list[npt.NDArray[np.float32]], ground_m: float) -> npt.NDArray[np.float64]:
    """The faces of boxes turned towards a LiDAR at the origin, on a flat ground."""
    grid = np.stack(np.meshgrid(np.arange(-40, 40, 0.7), np.arange(-40, 40, 0.7)), axis=-1).reshape(-1, 2)
    points = [np.column_stack([grid, np.full(len(grid), ground_m)])]
    for box in boxes:
        c, s = np.cos(box[6]), np.sin(box[6])
        along, across = (-c * box[0] - s * box[1], s * box[0] - c * box[1])  # the LiDAR, in the box's frame
        ends = np.arange(-0.5, 0.501, 0.05)
        for level in np.arange(-0.4, 0.41, 0.2):
            end = np.column_stack([np.full(len(ends), np.sign(along) / 2), ends])
            side = np.column_stack([ends, np.full(len(ends), np.sign(across) / 2)])
            faces = [f for f, seen in ((end, abs(along) > box[3] / 2), (side, abs(across) > box[4] / 2)) if seen]
            for face in faces:
                local = face * box[3:5]
                xy = local @ np.array([[c, s], [-s, c]]) + box[:2]
                points.append(np.column_stack([xy, np.full(len(xy), box[2] + level * box[5])]))
    return np.concatenate(points)


def test_what_stands_is_extended_where_points_confirm_it_and_nowhere_else() -> None:
    made = drive(things=(PARKED,), missed=0.0)
    for k in [*range(4), *range(12, NUM_FRAMES)]:
        made.labels[k] = PseudoLabels.empty(NUSCENES_CLASSES)

    def cloud(frame: int) -> npt.NDArray[np.float64]:
        there = [made.truth(PARKED, frame)] if frame < 16 else []
        return cloud_of_boxes(there, -LIDAR_HEIGHT_M)

    refined = made.refined(cloud_of=cloud)
    assert [len(frame) for frame in refined] == [1] * 16 + [0] * (NUM_FRAMES - 16)
    assert not any(len(frame) for frame in made.refined()[12:])
    assert not any(len(frame) for frame in made.refined(RefineConfig(extend_s=0.0), cloud_of=cloud)[12:])


def test_boxes_are_set_on_their_points() -> None:
    """Labels say a car 4.5 m long, half a metre off; the points say 5.2 m, and where."""
    long_car = replace(PARKED, size=(5.2, 1.9, 1.5))
    made = drive(things=(long_car,), missed=0.0, noise_m=0.05)
    for labels in made.labels:
        labels.boxes.values[:, 3] = 4.5
        labels.boxes.values[:, 0] += 0.4
    clouds = [cloud_of_boxes([made.truth(long_car, k)], -LIDAR_HEIGHT_M) for k in range(NUM_FRAMES)]
    plain = made.refined(RefineConfig(refit=False), cloud_of=clouds.__getitem__)
    refit = made.refined(cloud_of=clouds.__getitem__)
    for k in range(8, NUM_FRAMES):
        truth = made.truth(long_car, k)
        assert nearest(plain[k], truth)[0] > 0.3
        assert nearest(refit[k], truth)[0] < 0.1
        np.testing.assert_allclose(refit[k].boxes.dimensions[0, :2], (5.2, 1.9), atol=0.1)


def test_a_turning_lidar_is_taken_into_account() -> None:
    made = drive(things=(ONCOMING,), missed=0.0, noise_m=0.0)
    rolling_shutter = RollingShutter(period_s=0.1)
    late = replace(made, labels=[])
    for k, pose in enumerate(made.poses):
        truth = Boxes3D(made.truth(ONCOMING, k)[None], np.array([0.8]), np.array([CAR]), NUSCENES_CLASSES)
        truth.values[:, :2] -= truth.values[:, 7:9] * rolling_shutter.age_s(truth.centers)[:, None]
        late.labels.append(with_evidence(truth))
        assert pose is made.poses[k]
    plain, right = late.refined(), late.refined(rolling_shutter=rolling_shutter)
    for k in range(4, 12):
        truth_k = made.truth(ONCOMING, k)
        assert nearest(plain[k], truth_k)[0] > 0.3
        assert nearest(right[k], truth_k)[0] < 0.08


@pytest.mark.parametrize(
    ("place", "clockwise", "share"),
    [((-1, 1e-9), True, 1.0), ((0, 1), True, 0.75), ((1, 0), True, 0.5), ((0, -1), True, 0.25), ((0, 1), False, 0.25)],
)
def test_the_age_of_a_place_in_a_turn(place: tuple[float, float], clockwise: bool, share: float) -> None:
    rolling_shutter = RollingShutter(period_s=0.1, clockwise=clockwise)
    assert rolling_shutter.age_s(np.array([place])) == pytest.approx([0.1 * share], abs=1e-6)


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 1000))
def test_the_order_of_labels_does_not_matter(seed: int) -> None:
    made = drive(seed, mislabelled=0.2)
    random = np.random.default_rng(seed)
    shuffled = replace(made, labels=[frame[random.permutation(len(frame))] for frame in made.labels])
    for a, b in zip(made.refined(), shuffled.refined(), strict=True):
        assert rows_of(a) == pytest.approx(rows_of(b), abs=1e-3)


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 1000), st.floats(-3, 3), st.floats(-1e6, 1e6))
def test_where_the_world_has_its_origin_does_not_matter(seed: int, yaw_rad: float, shift_m: float) -> None:
    made = drive(seed)
    move = SE3.from_yaw(yaw_rad, (shift_m, -shift_m, 30.0))
    moved = replace(made, poses=[move @ pose for pose in made.poses])
    for a, b in zip(made.refined(), moved.refined(), strict=True):
        assert rows_of(a) == pytest.approx(rows_of(b), abs=5e-3)


def rows_of(labels: PseudoLabels) -> npt.NDArray[np.float64]:
    """(M, 12) the boxes in an order of their own, yaw as a direction."""
    v = labels.boxes.values.astype(np.float64)
    yaw = np.column_stack([np.cos(v[:, 6]), np.sin(v[:, 6])])
    rows = np.column_stack([v[:, :6], yaw, v[:, 7:], labels.boxes.labels, labels.boxes.scores])
    return np.asarray(rows[np.lexsort(np.round(rows[:, :2], 1).T)])


def test_the_given_labels_are_left_as_they_are() -> None:
    made = drive()
    before = [frame.boxes.values.copy() for frame in made.labels]
    made.refined()
    for frame, values in zip(made.labels, before, strict=True):
        np.testing.assert_array_equal(frame.boxes.values, values)


def test_nothing_comes_of_nothing() -> None:
    empty = [PseudoLabels.empty(NUSCENES_CLASSES)] * 3
    poses = [SE3.identity()] * 3
    assert [len(frame) for frame in refine(empty, [0, 1, 2], poses)] == [0, 0, 0]
    assert refine([], [], []) == []


def test_a_drive_of_one_frame() -> None:
    made = drive(missed=0.0)
    single = replace(made, labels=made.labels[:1], stamps_ns=made.stamps_ns[:1], poses=made.poses[:1])
    refined = single.refined(RefineConfig(min_hits=1))
    assert sorted(refined[0].boxes.names) == sorted(made.labels[0].boxes.names)
    np.testing.assert_allclose(
        np.sort(refined[0].boxes.values[:, 0]), np.sort(made.labels[0].boxes.values[:, 0]), atol=0.05
    )


def test_lists_of_different_length_are_refused() -> None:
    made = drive()
    with pytest.raises(ValueError, match=r"24 frames.*23"):
        refine(made.labels, made.stamps_ns[:-1], made.poses)
