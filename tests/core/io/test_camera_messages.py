from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lidarloop_core.errors import ImageFormatError, LidarloopError
from lidarloop_core.geometry.rectify import distortion_coefficients, rectify
from lidarloop_core.io.bag import message_type
from lidarloop_core.io.camera_messages import (
    MessagePicture,
    calibration_from_message,
    camera_info_topic,
    camera_name,
    picture_size,
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


def region(x: int, y: int, width: int, height: int) -> Any:
    cls = message_type("sensor_msgs/msg/RegionOfInterest")
    return cls(x_offset=x, y_offset=y, height=height, width=width, do_rectify=False)


@pytest.mark.parametrize("topic", [TOPIC, "/camera/cam_front/image_rect"])
@pytest.mark.parametrize(
    ("changes", "size", "matrix"),
    [
        ({"binning_x": 2, "binning_y": 4}, (16, 5), [[10, 0, 7.75], [0, 5, 2.375], [0, 0, 1]]),
        ({"roi": region(4, 2, 20, 10)}, (20, 10), [[20, 0, 11.5], [0, 20, 7.5], [0, 0, 1]]),
        (
            {"roi": region(4, 2, 20, 10), "binning_x": 2, "binning_y": 2},
            (10, 5),
            [[10, 0, 5.75], [0, 10, 3.75], [0, 0, 1]],
        ),
        ({"binning_x": 1, "binning_y": 1}, (32, 20), K.tolist()),
    ],
)
def test_binning_and_region_of_interest_are_applied_as_image_geometry_does(
    topic: str, changes: dict[str, Any], size: tuple[int, int], matrix: list[list[float]]
) -> None:
    calibration = calibration_from_message(info(**changes), topic)
    assert (calibration.width, calibration.height) == size
    np.testing.assert_allclose(calibration.intrinsics, matrix)


def test_a_region_outside_the_sensor_is_refused() -> None:
    with pytest.raises(ImageFormatError, match=r"region of 20 × 10 pixels at 20, 2"):
        calibration_from_message(info(roi=region(20, 2, 20, 10)), TOPIC)


@pytest.mark.parametrize("compressed", [True, False])
def test_a_calibration_of_another_size_than_the_pictures_names_the_camera(compressed: bool) -> None:
    pixels = np.zeros((10, 16, 3), np.uint8)
    if compressed:
        message = image_message(encode_jpeg(pixels).data, 5, "cam_front_optical", message_type)
    else:
        message = message_type("sensor_msgs/msg/Image")(
            header=None, height=10, width=16, encoding="rgb8", is_bigendian=0, step=48, data=pixels.reshape(-1)
        )
    assert picture_size(message) == (16, 10)
    picture = MessagePicture(message, calibration_from_message(info(), TOPIC))
    for use in (picture, picture.encoded):
        with pytest.raises(ImageFormatError, match=rf"{TOPIC} has pictures of 16 × 10 .* for 32 × 20"):
            use()


@pytest.mark.parametrize("count", [12, 14])
def test_coefficients_of_prism_and_tilt_are_taken_where_they_are_zero(count: int) -> None:
    d = np.zeros(count)
    d[:8] = [0.1, 0.2, 0.01, 0.02, 0.3, 0.4, 0.5, 0.6]
    message = info(d=d, distortion_model="rational_polynomial")
    np.testing.assert_array_equal(calibration_from_message(message, TOPIC).coefficients, d[:8])
    d[-1] = 0.05
    with pytest.raises(LidarloopError, match=rf"{TOPIC}.*thin prism or tilt.*image_rect"):
        calibration_from_message(info(d=d), TOPIC)
