"""Which picture belongs to which cloud."""

from __future__ import annotations

import pytest

from lidarloop_core.labelling.picture_times import MAX_OFFSET_NS, PictureTimes, nearest, usual_offset_ns

MS = 1_000_000


def joined(
    offset_ms: float, *, cloud_ms: int = 200, camera_ms: int = 200, slop_s: float = 0.1, jitter: bool = False
) -> dict[int, int]:
    """Cloud → its picture, both milliseconds, of 20 clouds; a picture comes at its stamp, a cloud at its own."""
    times: PictureTimes[int] = PictureTimes(slop_s)
    events = [(i * cloud_ms * MS, "cloud") for i in range(1, 21)]
    for i in range(20 * cloud_ms // camera_ms + 2):
        shake = (2 if i % 2 else -2) * MS if jitter else 0
        events.append((int(i * camera_ms * MS + offset_ms * MS) + shake, "picture"))
    pairs = []
    for stamp, kind in sorted(events):
        pairs += times.add_cloud(stamp) if kind == "cloud" else times.add_picture(stamp, stamp)
    return {cloud // MS: picture // MS for cloud, picture in pairs}


@pytest.mark.parametrize("offset_ms", [-99, -81, -61, -10, 0, 20, 99])
@pytest.mark.parametrize("jitter", [False, True])
def test_every_cloud_gets_a_picture_of_a_camera_that_is_always_off(offset_ms: int, jitter: bool) -> None:
    found = joined(offset_ms, jitter=jitter)
    assert len(found) >= 19
    assert all(abs(picture - cloud) <= 104 for cloud, picture in found.items())


def test_a_fast_camera_gives_the_nearest_picture_not_the_first_within_reach() -> None:
    found = joined(5, cloud_ms=100, camera_ms=33)
    assert len(found) >= 18
    assert all(abs(picture - cloud) <= 17 for cloud, picture in list(found.items())[1:])


def test_a_learnt_offset_is_kept_where_a_picture_is_lost() -> None:
    """Without the picture that belongs to a cloud, that of the next cloud is not taken."""
    times: PictureTimes[int] = PictureTimes(0.05)
    pairs = []
    for i in range(1, 12):
        if i != 8:
            pairs += times.add_picture(i * 100 * MS - 40 * MS, i)
        pairs += times.add_cloud(i * 100 * MS)
    found = {cloud // (100 * MS): picture for cloud, picture in pairs}
    assert found == {i: i for i in range(1, 12) if i != 8} or found == {i: i for i in range(2, 12) if i != 8}


def test_what_is_too_far_off_is_named() -> None:
    times: PictureTimes[int] = PictureTimes(0.05)
    times.add_picture(0, 0)
    assert times.add_cloud(181 * MS) == []
    assert times.off_ns == -181 * MS


def test_a_jump_back_in_time_starts_over() -> None:
    times: PictureTimes[int] = PictureTimes(0.05)
    for i in range(10, 15):
        times.add_picture(i * 100 * MS, i)
        times.add_cloud(i * 100 * MS)
    assert times.add_cloud(100 * MS) == []
    assert times.add_picture(100 * MS, 1) == [(100 * MS, 1)]


def test_the_usual_offset_is_one_of_those_seen() -> None:
    """Half of them a period later: their mean would be of no picture at all."""
    assert usual_offset_ns([-99 * MS, 101 * MS, -99 * MS, 101 * MS]) == -99 * MS
    assert usual_offset_ns([MAX_OFFSET_NS + 1]) == usual_offset_ns([]) == 0
    assert nearest([], 5) is None
    assert nearest([1, 9], 6) == 9
