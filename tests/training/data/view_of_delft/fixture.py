"""Three View-of-Delft frames, of which the first is labelled; the camera is pitched down against the LiDAR."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

PITCH_RAD = 0.12
_C, _S = np.cos(PITCH_RAD), np.sin(PITCH_RAD)
# Camera x right, y down, z forward, pitched down: its z has a part along the LiDAR's -z.
LIDAR_R_CAMERA = np.array([[0.0, -_S, _C], [-1.0, 0.0, 0.0], [0.0, -_C, -_S]])
LIDAR_T_CAMERA = np.array([1.0, 0.0, -0.4])


def write_view_of_delft(root: Path) -> None:
    folder = root / "lidar" / "training"
    cloud = np.array([[10.5, 1.0, -1.0, 200.0], [40.0, 0.0, 0.0, 7.0]], np.float32)
    camera_SE3_lidar = np.column_stack([LIDAR_R_CAMERA.T, -LIDAR_R_CAMERA.T @ LIDAR_T_CAMERA])
    numbers = " ".join(f"{value:.15f}" for value in camera_SE3_lidar.ravel())
    for name in ("01047", "01048", "01201"):
        _write(folder / "velodyne" / f"{name}.bin", cloud.tobytes())
        _write(
            folder / "calib" / f"{name}.txt",
            f"P2: 1500 0 960 0 0 1500 600 0 0 0 1 0\nR0_rect: 1 0 0 0 1 0 0 0 1\nTr_velo_to_cam: {numbers}\n"
            "Tr_imu_to_velo:\n",
        )
    labels = [
        _label("Car", (10, 1, -2), (1.5, 1.8, 4.0), 0.4),
        _label("Cyclist", (20, -3, -2), (1.7, 0.7, 2.0), 1.0),
        _label("rider", (20, -3, -1), (1.5, 0.7, 0.6), 1.0),
        _label("moped_scooter", (12, 5, -2), (1.1, 0.5, 1.6), -2.0),
        _label("bicycle_rack", (15, 5, -2), (1.1, 4.5, 2.0), -2.0),
        "DontCare -1 -1 -10 0 0 1 1 -1 -1 -1 -1000 -1000 -1000 -10 1",
    ]
    _write(folder / "label_2" / "01047.txt", "\n".join(labels) + "\n")
    pose = [np.cos(0.5), -np.sin(0.5), 0, 100.0, np.sin(0.5), np.cos(0.5), 0, 200.0, 0, 0, 1, 1.5, 0, 0, 0, 1]
    lines = [json.dumps({"odomToCamera": np.eye(4).ravel().tolist()}), json.dumps({"mapToCamera": pose})]
    _write(folder / "pose" / "01047.json", "\n".join(lines) + "\n")
    path = folder / "image_2" / "01047.jpg"
    path.parent.mkdir(parents=True)
    Image.new("RGB", (40, 30)).save(path)


def _label(name: str, bottom: tuple[float, float, float], size_hwl: tuple[float, ...], yaw: float) -> str:
    """A line for a box given in the LiDAR's frame."""
    place = LIDAR_R_CAMERA.T @ (np.array(bottom) - LIDAR_T_CAMERA)
    numbers = [*size_hwl, *place, -yaw - np.pi / 2]
    return f"{name} 0 0 0 0 0 1 1 " + " ".join(f"{number:.9f}" for number in numbers) + " 1"


def _write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
