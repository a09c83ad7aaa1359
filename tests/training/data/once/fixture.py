"""A small ONCE sequence, written apart from the reader: no real sample may be passed on.

Folders and fields are those that the official devkit reads. Everything is said in a vehicle's terms (metres ahead, to
the left, up) and put into ONCE's LiDAR frame (x left, y back, z up) by hand, with plain sines and cosines; lens and
projection are OpenCV's formula written out. It shares no code with the reader.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
from PIL import Image

SEQUENCE = "000076"
FRAMES = ("1616343527200", "1616343527700", "1616343528200")  # milliseconds
SIZE = (192, 108)

# name, metres ahead, left and up of the LiDAR, length, width, height, heading (0 ahead, + to the left)
OBJECTS = [
    ("Car", 12.5, -3.25, -0.9, 4.4, 1.9, 1.6, 0.25),
    ("Bus", -20.0, 4.5, 0.1, 11.1, 2.9, 3.4, math.pi),
    ("Truck", 30.0, 7.0, -0.3, 7.5, 2.5, 2.6, -2.0),
    ("Pedestrian", 6.0, 5.0, -0.8, 0.7, 0.75, 1.7, 1.5),
    ("Cyclist", -8.0, -2.0, -0.9, 2.1, 0.8, 1.5, -0.5),
]

DRIVEN_M = (0.0, 4.0, 7.5)  # along the road
TURNED_RAD = (0.0, 0.1, 0.3)  # to the left, since the first frame

# camera: focal length, ahead, left, up, looking (0 ahead, + to the left)
CAMERAS = {"cam01": (120.0, 0.5, 0.1, -0.2, 0.0), "cam06": (110.0, 0.3, 0.6, -0.3, 1.2)}
DISTORTION = {"cam01": [-0.28, 0.07, 0.001, -0.0015, 0.004], "cam06": [0.0] * 5}
LANDMARKS = {"cam01": [(10.0, 4.5, 1.5), (8.0, -4.0, -1.0)], "cam06": [(4.0, 8.0, 0.5)]}


def once_frame(ahead: float, left: float, up: float) -> list[float]:
    return [left, -ahead, up]


def points(frame: int) -> np.ndarray:
    """(N, 4): three points in each object, on a line along its length, and some ground."""
    rows = []
    for _, ahead, left, up, length, *_, heading in OBJECTS:
        for share in (-0.45, 0.0, 0.45):
            step = share * length
            where = once_frame(ahead + step * math.cos(heading), left + step * math.sin(heading), up)
            rows.append([*where, 0.5])
    for k in range(40):
        rows.append([*once_frame(k - 20.0, 15.0 + frame, -1.7), k / 39])
    return np.array(rows, dtype="<f4")


def pose(frame: int) -> list[float]:
    """Quaternion x y z w and translation of the LiDAR in the first LiDAR frame. About z all axes turn alike."""
    half = TURNED_RAD[frame] / 2
    return [0.0, 0.0, math.sin(half), math.cos(half), *once_frame(DRIVEN_M[frame], 0.5 * frame, 0.0)]


def calibration(camera: str) -> dict:
    """cam_to_velo has the camera's axes (right, down, forward) as columns, in ONCE's LiDAR frame."""
    focal, ahead, left, up, looking = CAMERAS[camera]
    forward = once_frame(math.cos(looking), math.sin(looking), 0.0)
    right = once_frame(math.sin(looking), -math.cos(looking), 0.0)
    columns = [right, [0.0, 0.0, -1.0], forward, once_frame(ahead, left, up)]
    return {
        "cam_to_velo": [[column[row] for column in columns] for row in range(3)] + [[0.0, 0.0, 0.0, 1.0]],
        "cam_intrinsic": [[focal, 0.0, SIZE[0] / 2], [0.0, focal, SIZE[1] / 2], [0.0, 0.0, 1.0]],
        "distortion": DISTORTION[camera],
    }


def seen_at(camera: str, landmark: tuple[float, float, float], *, through_lens: bool) -> tuple[float, float]:
    """Pixel of a point given as ahead, left, up of the LiDAR."""
    focal, ahead, left, up, looking = CAMERAS[camera]
    forward = (landmark[0] - ahead) * math.cos(looking) + (landmark[1] - left) * math.sin(looking)
    right = (landmark[0] - ahead) * math.sin(looking) - (landmark[1] - left) * math.cos(looking)
    x, y = right / forward, -(landmark[2] - up) / forward
    k1, k2, p1, p2, k3 = DISTORTION[camera] if through_lens else [0.0] * 5
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    u = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    v = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    return focal * u + SIZE[0] / 2, focal * v + SIZE[1] / 2


def picture(camera: str) -> Image.Image:
    """White discs where the lens shows the landmarks."""
    x, y = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    grey = np.full(x.shape, 20.0)
    for landmark in LANDMARKS[camera]:
        u, v = seen_at(camera, landmark, through_lens=True)
        grey += 220 * np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * 1.5**2))
    return Image.fromarray(np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2))


def content() -> dict:
    """The JSON file. As in the real ones, every other frame is labelled, and some poses are unknown (zeros)."""
    frames = []
    for i, frame in enumerate(FRAMES):
        record: dict = {"sequence_id": SEQUENCE, "frame_id": frame, "pose": pose(i)}
        if i % 2 == 0:
            boxes = [[*once_frame(*o[1:4]), *o[4:7], _once_angle(o[7])] for o in OBJECTS]
            boxes_2d = {camera: [[-1.0] * 4 for _ in OBJECTS] for camera in CAMERAS}
            record["annos"] = {"names": [o[0] for o in OBJECTS], "boxes_3d": boxes, "boxes_2d": boxes_2d}
        frames.append(record)
    meta = {"weather": "sunny", "period": "morning", "image_size": list(SIZE), "point_feature_num": 4}
    return {"meta_info": meta, "calib": {camera: calibration(camera) for camera in CAMERAS}, "frames": frames}


def _once_angle(heading: float) -> float:
    """Counter-clockwise from ONCE's x, of the direction in which the object looks."""
    x, y, _ = once_frame(math.cos(heading), math.sin(heading), 0.0)
    return math.atan2(y, x)


def write_sequence(root: Path) -> Path:
    """Writes ``root/data/<sequence>`` and gives that folder."""
    folder = root / "data" / SEQUENCE
    (folder / "lidar_roof").mkdir(parents=True)
    for i, frame in enumerate(FRAMES):
        points(i).tofile(folder / "lidar_roof" / f"{frame}.bin")
    for camera in CAMERAS:
        (folder / camera).mkdir()
        for frame in FRAMES:
            picture(camera).save(folder / camera / f"{frame}.jpg", quality=98)
    (folder / f"{SEQUENCE}.json").write_text(json.dumps(content()))
    return folder
