"""Times of points in every convention that drivers use: all give the seconds they were made from."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from lidarloop_core.pointcloud.decode import decode_cloud
from lidarloop_core.pointcloud.encode import encode_points
from lidarloop_core.pointcloud.point_time import (
    TIME_FIELDS,
    PointTimeError,
    PointTimeReader,
    PointTimes,
    PointTimeSettings,
)

STAMP_NS = 1_763_000_000_123_456_789
SWEEP_S = 0.1


def cloud(**columns: npt.NDArray[Any]) -> Any:
    """A PointCloud2 with points 1 m ahead, unless x y z are given."""
    num_points = len(next(iter(columns.values())))
    xyz = {axis: np.full(num_points, axis == "x", np.float32) for axis in "xyz"}
    layout = encode_points({**xyz, **columns})
    return SimpleNamespace(
        height=1,
        width=layout.num_points,
        point_step=layout.point_step,
        row_step=layout.point_step * layout.num_points,
        is_bigendian=False,
        data=layout.data,
        fields=[SimpleNamespace(name=n, offset=o, datatype=d, count=1) for n, o, d in layout.fields],
    )


def sweep_s(first_s: float) -> npt.NDArray[np.float64]:
    """(200,) seconds after the stamp, in no order, as in a cloud that is stored ring by ring."""
    return np.random.default_rng(0).permutation(first_s + np.linspace(0, SWEEP_S, 200))


def read(msg: Any, stamp_ns: int = STAMP_NS, **settings: Any) -> PointTimes:
    return PointTimeReader(PointTimeSettings(**settings)).read(decode_cloud(msg), stamp_ns)


@pytest.mark.parametrize("first_s", [0.0, -SWEEP_S / 2, -SWEEP_S])
@pytest.mark.parametrize("field", TIME_FIELDS)
@pytest.mark.parametrize(("per_s", "dtype"), [(1, "f4"), (1, "f8"), (1e3, "f4"), (1e6, "i4"), (1e9, "i4"), (1e9, "f8")])
def test_times_relative_to_the_stamp_are_read_in_any_unit(field: str, per_s: float, dtype: str, first_s: float) -> None:
    seconds = sweep_s(first_s)
    times = read(cloud(**{field: (seconds * per_s).astype(dtype)}))
    np.testing.assert_allclose(times.seconds, seconds, atol=2e-6)
    assert (times.first_s, times.last_s) == pytest.approx((first_s, first_s + SWEEP_S), abs=2e-6)
    assert times.convention.origin == "stamp"


@pytest.mark.parametrize("first_s", [0.0, -SWEEP_S])
@pytest.mark.parametrize("per_s", [1, 1e6, 1e9])
def test_absolute_times_are_read_in_any_unit(per_s: float, first_s: float) -> None:
    seconds = sweep_s(first_s)
    times = read(cloud(timestamp=(STAMP_NS * 1e-9 + seconds) * per_s))
    np.testing.assert_allclose(times.seconds, seconds, atol=1e-6)
    assert times.convention.origin == "clock"


def test_unsigned_nanoseconds_after_the_stamp_are_read() -> None:
    seconds = sweep_s(0.0)
    np.testing.assert_allclose(read(cloud(t=(seconds * 1e9).astype(np.uint32))).seconds, seconds, atol=1e-7)


@pytest.mark.parametrize(("stamp_at", "shift_s"), [("start", 0.0), ("end", -SWEEP_S)])
@pytest.mark.parametrize("since_s", [0.0, 4e7])
def test_the_place_of_the_stamp_can_be_set_whatever_the_times_count_from(
    stamp_at: str, shift_s: float, since_s: float
) -> None:
    """A LiDAR that counts from its own start, and a driver that stamps clouds when they are complete."""
    seconds = sweep_s(0.0)
    times = read(cloud(timestamp=since_s + seconds), stamp_at=stamp_at)
    np.testing.assert_allclose(times.seconds, seconds + shift_s, atol=1e-6)


def test_points_without_a_return_do_not_count() -> None:
    seconds = sweep_s(-SWEEP_S)
    stamps = STAMP_NS * 1e-9 + seconds
    x = np.ones(200, np.float32)
    x[:50], x[50], stamps[:50], stamps[50] = 0.0, np.nan, 0.0, np.nan
    times = read(cloud(x=x, timestamp=stamps))
    np.testing.assert_allclose(times.seconds[51:], seconds[51:], atol=1e-6)
    assert -SWEEP_S - 1e-6 <= times.first_s <= times.last_s <= 1e-6


def test_a_convention_once_found_holds_for_clouds_too_short_to_tell() -> None:
    reader = PointTimeReader()
    reader.read(decode_cloud(cloud(t=np.linspace(0, 1e8, 50).astype(np.uint32))), STAMP_NS)
    short = reader.read(decode_cloud(cloud(t=np.array([7_000_000, 7_500_000], np.uint32))), STAMP_NS)
    np.testing.assert_allclose(short.seconds, [0.007, 0.0075])


def test_a_driver_that_changes_its_unit_is_followed() -> None:
    reader = PointTimeReader()
    seconds = sweep_s(0.0)
    reader.read(decode_cloud(cloud(time=seconds)), STAMP_NS)
    times = reader.read(decode_cloud(cloud(time=seconds * 1e6)), STAMP_NS)
    np.testing.assert_allclose(times.seconds, seconds, atol=1e-6)


@pytest.mark.parametrize(
    ("first_s", "words"),
    [(0.0, "the sweep's start"), (-0.05, "the sweep's middle"), (-0.1, "the sweep's end"), (-0.3, "300 ms after")],
)
def test_the_convention_is_described(first_s: float, words: str) -> None:
    text = str(read(cloud(t=(sweep_s(first_s) * 1e9).astype(np.int32))))
    assert text.startswith("t in ns, relative to the stamp; 100 ms long, stamped at ")
    assert words in text


@pytest.mark.parametrize(
    ("columns", "settings", "message"),
    [
        ({"intensity": np.ones(3, np.float32)}, {}, "no time for each point.*t or time or timestamp.*point type"),
        ({"time": np.ones(3)}, {"field": "t"}, "expected a field t, found x, y, z, time"),
        ({"time": np.zeros(3, np.float32)}, {}, "all points have one time.*check the driver"),
        ({"time": np.array([0.0, 1e-4])}, {}, "span 0.0001, which is a sweep of 0.01 to 1.5 s in no unit"),
        ({"t": np.array([0, 1], np.int32)}, {}, "in no unit"),
        ({"timestamp": 500 + sweep_s(0)}, {}, "another clock: 500.000 to 500.100 s.*Synchronise.*start or end"),
        ({"timestamp": np.float32(1.7e9) + np.array([0, 128], "f4")}, {}, "32 bits.*128 alone.*64 bits"),
        ({"t": np.array([0, 10**8], np.int32)}, {"unit": "us", "stamp_at": "end"}, "read in us; expected them within"),
    ],
)
def test_times_that_cannot_be_read_are_refused_with_the_remedy(
    columns: dict[str, npt.NDArray[Any]], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(PointTimeError, match=message):
        read(cloud(**columns), **settings)


def test_points_come_with_their_times_and_are_guarded() -> None:
    seconds = sweep_s(0.0)
    x = np.ones(200, np.float32)
    x[3] = np.nan
    msg = cloud(x=x, intensity=np.full(200, 300, np.float32), t=(seconds * 1e9).astype(np.uint32))
    read = PointTimeReader().read_points(msg, ("x", "y", "z", "intensity"), STAMP_NS, {"intensity": (0, 255)})
    assert read.received.points.shape == (199, 5)
    np.testing.assert_allclose(read.received.points[:, 4], np.delete(seconds, 3), atol=1e-7)
    assert (read.received.points[:, 3] == 255).all()
    assert read.problem == ""
    assert read.times is not None


def test_points_without_times_are_all_at_the_stamp_and_the_reason_is_given() -> None:
    read = PointTimeReader().read_points(cloud(ring=np.ones(4, np.uint16)), ("x", "y", "z"), STAMP_NS)
    np.testing.assert_array_equal(read.received.points, [[1, 0, 0, 0]] * 4)
    assert read.times is None
    assert "no time for each point" in read.problem
    empty = PointTimeReader().read_points(cloud(t=np.ones(0, np.uint32)), ("x", "y", "z"), STAMP_NS)
    assert empty.received.points.shape == (0, 4)
    assert empty.problem == ""
