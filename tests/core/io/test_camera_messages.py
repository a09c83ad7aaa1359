from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lidarloop_core.errors import LidarloopError
from lidarloop_core.geometry.rectify import distortion_coefficients, rectify
from lidarloop_core.io.bag import message_type
from lidarloop_core.io.camera_messages import (
    MessagePicture,
    calibration_from_message,
    camera_info_topic,
    camera_name,
)
from lidarloop_core.io.images import encode_jpeg
from lidarloop_core.io.messages import camera_info_message, image_message

K = np.array([[20.0, 0, 15.5], [0, 20.0, 9.5], [0, 0, 1]])
TOPIC = "/camera/cam_front/image/compressed"


def info(**changes: Any) -> Any:
    message = camera_info_message(K, 32, 20, 0, "cam_front_optical", message_type)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def test_names() -> None:
    assert camera_name(TOPIC) == "CAM_FRONT"
    assert camera_info_topic(TOPIC) == "/camera/cam_front/camera_info"
    assert camera_name("/left/image_rect") == "LEFT"
    assert camera_info_topic("/left/image_rect") == "/left/camera_info"


def test_a_rectified_topic_goes_by_p_and_any_other_by_k() -> None:
    p = np.hstack([np.diag([7.0, 8.0, 1.0]), np.zeros((3, 1))]).reshape(-1)
    message = info(p=p, d=np.array([0.1, 0, 0, 0, 0.0]))
    as_taken = calibration_from_message(message, TOPIC)
    np.testing.assert_array_equal(as_taken.intrinsics, K)
    np.testing.assert_array_equal(as_taken.coefficients, [0.1, 0, 0, 0, 0, 0, 0, 0])
    rectified = calibration_from_message(message, "/camera/cam_front/image_rect/compressed")
    np.testing.assert_array_equal(rectified.intrinsics, np.diag([7.0, 8.0, 1.0]))
    assert not rectified.coefficients.any()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"k": np.zeros(9)}, "calibrate the camera"),
        ({"k": np.full(9, np.nan)}, "calibrate the camera"),
        ({"width": 0}, "calibrate the camera"),
        ({"distortion_model": "equidistant"}, "image_rect"),
        ({"d": np.ones(3)}, "distortion coefficients"),
    ],
)
def test_a_calibration_that_cannot_be_used_is_named(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(LidarloopError, match=expected) as error:
        calibration_from_message(info(**changes), TOPIC)
    assert TOPIC in str(error.value)


def test_a_rectified_jpeg_is_handed_on_as_it_came() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (20, 32, 3)).astype(np.uint8)
    jpeg = encode_jpeg(pixels)
    message = image_message(jpeg.data, 5, "cam_front_optical", message_type)
    picture = MessagePicture(message, calibration_from_message(info(), TOPIC))
    assert picture.encoded() == jpeg
    np.testing.assert_array_equal(picture(), jpeg())


def test_a_distorted_picture_is_rectified_also_where_it_is_kept() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (20, 32, 3)).astype(np.uint8)
    jpeg = encode_jpeg(pixels)
    d = np.array([-0.3, 0.1, 0.0, 0.0, 0.0])
    message = image_message(jpeg.data, 5, "cam_front_optical", message_type)
    picture = MessagePicture(message, calibration_from_message(info(d=d), TOPIC))
    straight = rectify(jpeg(), K, distortion_coefficients(d, "here"))
    assert (straight != jpeg()).any()
    np.testing.assert_array_equal(picture(), straight)
    assert picture.encoded() == encode_jpeg(straight)
