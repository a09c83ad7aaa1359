"""The meeting point of clouds and pictures; real threads, no ROS."""

from __future__ import annotations

import threading

from lidarloop_ros.inputs.assembler import AssembledCloud, CloudAssembler

FOR_EVER = 1e6


def assembler(*sensors: str, patience_s: float = FOR_EVER) -> CloudAssembler[str, str]:
    return CloudAssembler(dict.fromkeys(sensors, patience_s))


def test_a_complete_frame_is_taken_whatever_the_order() -> None:
    meeting = assembler("a", "b")
    meeting.add_cloud(1, "cloud")
    meeting.add_part(1, "b", "B")
    meeting.add_part(1, "a", "A")
    assert meeting.take() == AssembledCloud(1, "cloud", {"a": "A", "b": "B"})


def test_a_missing_camera_costs_its_patience_and_no_more() -> None:
    meeting = assembler("a", "b", patience_s=0.0)
    meeting.add_cloud(1, "cloud")
    meeting.add_part(1, "a", "A")
    assert meeting.take() == AssembledCloud(1, "cloud", {"a": "A"})


def test_each_sensor_has_a_patience_of_its_own() -> None:
    meeting: CloudAssembler[str, str] = CloudAssembler({"slow": FOR_EVER, "late": 0.0})
    meeting.add_cloud(1, "cloud")
    taken: list[AssembledCloud[str, str] | None] = []
    thread = threading.Thread(target=lambda: taken.append(meeting.take()))
    thread.start()
    meeting.add_part(1, "slow", "S")  # `late` is not waited for, `slow` was
    thread.join(30)
    assert taken == [AssembledCloud(1, "cloud", {"slow": "S"})]


def test_the_newest_that_is_ready_wins_and_older_ones_are_forgotten() -> None:
    meeting = assembler("a")
    for stamp in (1, 2, 3):
        meeting.add_cloud(stamp, f"cloud {stamp}")
    meeting.add_part(1, "a", "A1")
    meeting.add_part(2, "a", "A2")
    taken = meeting.take()
    assert taken is not None
    assert taken.stamp_ns == 2
    meeting.add_part(1, "a", "too late")
    meeting.add_part(3, "a", "A3")
    taken = meeting.take()
    assert taken is not None
    assert (taken.stamp_ns, taken.parts) == (3, {"a": "A3"})


def test_a_cloud_without_further_sensors_is_taken_at_once() -> None:
    meeting = assembler()
    meeting.add_cloud(7, "cloud")
    assert meeting.take() == AssembledCloud(7, "cloud", {})


def test_a_taker_that_waits_is_woken_by_the_last_picture_and_by_the_end() -> None:
    meeting = assembler("a")
    taken: list[AssembledCloud[str, str] | None] = []

    def take_all() -> None:
        while (frame := meeting.take()) is not None:
            taken.append(frame)
            first_taken.set()
        taken.append(None)

    first_taken = threading.Event()
    thread = threading.Thread(target=take_all)
    thread.start()
    meeting.add_cloud(1, "cloud")
    meeting.add_part(1, "a", "A")
    assert first_taken.wait(30)
    meeting.add_cloud(2, "cloud")
    meeting.clear()
    meeting.add_part(2, "a", "its cloud is forgotten")
    meeting.close()
    thread.join(30)
    assert taken == [AssembledCloud(1, "cloud", {"a": "A"}), None]
