"""A KITTI tracking folder by hand: a labelled sequence that drives east at 10 m/s, and a bare one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

# Velodyne x forward, y left, z up → camera x right, y down, z forward, 0.1 m below and 0.2 m ahead of it.
TR_VELO_TO_CAM = "0 -1 0 0 0 0 -1 -0.1 1 0 0 -0.2"
P2 = "700 0 600 42 0 700 180 0 0 0 1 0"
NUMBERS = (10, 12, 14)
SPEED_MPS = 10.0
GAP_S = 0.206
EARTH_M = SPEED_MPS * GAP_S
"""Way from one frame to the next, metres."""

_LATITUDE_DEG = 49.0
_LONGITUDE_DEG = EARTH_M / (6_378_137.0 * np.cos(np.radians(_LATITUDE_DEG))) * 180 / np.pi
"""Way from one frame to the next, degrees."""


def write_tracking(root: Path) -> None:
    for sequence, numbers in (("0001", NUMBERS), ("0002", (0,))):
        points = np.array([[20.2, -3.0, -0.9, 0.5], [50.0, 0.0, 0.0, 1.0]], dtype=np.float32)
        for number in numbers:
            _write(root / "velodyne" / sequence / f"{number:06d}.bin", points.tobytes())
        _write(
            root / "calib" / f"{sequence}.txt",
            f"P2: {P2}\nR_rect 1 0 0 0 1 0 0 0 1\nTr_velo_cam {TR_VELO_TO_CAM}\n"
            "Tr_imu_velo 1 0 0 -0.8 0 1 0 0.3 0 0 1 -0.8\n",
        )
    car = "Car 0 0 0 0 0 1 1 1.5 1.8 4.0 3.0 1.65 20.0 -1.5707963"
    lines = [f"{number} 3 {car}" for number in (*NUMBERS, 15)]  # the last has no cloud
    lines.insert(1, "10 4 Person 0 0 0 0 0 1 1 1.2 0.6 0.8 -4.0 1.6 12.0 0.0")
    lines.append("12 -1 DontCare -1 -1 -10 0 0 1 1 -1000 -1000 -1000 -10 -1 -1 -1")
    _write(root / "label_02" / "0001.txt", "\n".join(lines) + "\n")
    stamps = [(number, 47305.9 + GAP_S * i) for i, number in enumerate(NUMBERS)]
    _write(
        root / "timestamps" / "0001.txt",
        "# frame velodyne_s image_02_s\n" + "".join(f"{n} {s:.6f} {s + 0.01:.6f}\n" for n, s in stamps),
    )
    rest = " ".join(["0"] * 24)
    _write(
        root / "oxts" / "0001.txt",
        "".join(
            f"{n} {_LATITUDE_DEG} {8.4 + _LONGITUDE_DEG * i:.12f} 110 0 0 0 {rest}\n" for i, n in enumerate(NUMBERS)
        ),
    )
    _write(
        root / "poses_velo_orbslam3" / "0001.txt",
        "".join(f"{n} 1 0 0 {2.06 * i} 0 1 0 0 0 0 1 0\n" for i, n in enumerate(NUMBERS)),
    )
    for number in NUMBERS:
        path = root / "image_02" / "0001" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30)).save(path)


def _write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
