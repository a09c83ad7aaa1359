"""Small drives in the layouts of public data sets."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

P2 = "700 0 600 42 0 700 180 0 0 0 1 0"
TR = "0 -1 0 0 0 0 -1 -0.1 1 0 0 -0.2"
POINTS = [(5.0, 1.0, -1.7, 0.25), (20.0, 3.0, -1.0, 1.0), (8.0, -2.0, -0.5, 0.0)]
CLOUD = b"".join(struct.pack("<4f", *point) for point in POINTS)


def _write(path: Path, content: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def _write_picture(path: Path) -> None:
    from tests.fuzz.trees import picture

    path.parent.mkdir(parents=True, exist_ok=True)
    picture().save(path)


def write_kitti_raw(root: Path) -> None:
    """A KITTI raw recording of two clouds and pictures."""
    drive = root / "2011_09_26" / "2011_09_26_drive_0001_sync"
    for sensor, time in (("velodyne_points", "13:02:2{}.951199337"), ("image_02", "13:02:2{}.964389445")):
        _write(drive / sensor / "timestamps.txt", "".join(f"2011-09-26 {time.format(i)}\n" for i in range(2)))
    for i in range(2):
        _write(drive / "velodyne_points" / "data" / f"{i:010d}.bin", CLOUD)
        _write_picture(drive / "image_02" / "data" / f"{i:010d}.png")
    _write(
        drive.parent / "calib_velo_to_cam.txt",
        "calib_time: 15-Mar-2012 11:37:16\nR: 0 -1 0 0 0 -1 1 0 0\nT: 0 -0.1 -0.2\n",
    )
    _write(drive.parent / "calib_cam_to_cam.txt", f"R_rect_00: 1 0 0 0 1 0 0 0 1\nP_rect_02: {P2}\n")


def write_kitti_object(root: Path) -> None:
    """One cloud of the KITTI object benchmark, with a picture and labels."""
    _write(root / "calib" / "000007.txt", f"P2: {P2}\nR0_rect: 1 0 0 0 1 0 0 0 1\nTr_velo_to_cam: {TR}\n")
    _write(root / "velodyne" / "000007.bin", CLOUD)
    _write_picture(root / "image_2" / "000007.png")
    _write(
        root / "label_2" / "000007.txt",
        "Car 0.00 0 0 0 0 1 1 1.5 1.8 4.0 3.0 1.65 20.0 -1.5707963\n"
        "DontCare -1 -1 -10 0 0 1 1 -1 -1 -1 -1000 -1000 -1000 -10\n",
    )


def write_semantic_kitti(root: Path) -> None:
    """A SemanticKITTI sequence of three labelled scans."""
    folder = root / "dataset" / "sequences" / "00"
    for i in range(3):
        _write(folder / "velodyne" / f"{i:06d}.bin", CLOUD)
        _write(folder / "labels" / f"{i:06d}.label", struct.pack("<3I", 40, 80, (7 << 16) | 252))
        _write_picture(folder / "image_2" / f"{i:06d}.png")
    _write(folder / "calib.txt", "".join(f"P{i}: {P2}\n" for i in range(4)) + f"Tr: {TR}\n")
    _write(folder / "times.txt", "".join(f"{0.1036 * i:e}\n" for i in range(3)))
    _write(folder / "poses.txt", "".join(f"1 0 0 0 0 1 0 {-0.1 * i} 0 0 1 {1.5 * i}\n" for i in range(3)))


def write_av2(root: Path) -> None:
    """An Argoverse 2 log of three sweeps and one tracked car."""
    import pyarrow
    from pyarrow import feather

    def write(name: str, columns: dict[str, object]) -> None:
        (root / "val" / "log-a" / name).parent.mkdir(parents=True, exist_ok=True)
        feather.write_feather(pyarrow.table(columns), root / "val" / "log-a" / name)

    stamps = 315_966_265_000_000_000 + 100_000_000 * np.arange(3)
    poses = {
        "qw": np.ones(3),
        **{name: np.zeros(3) for name in ("qx", "qy", "qz", "ty_m", "tz_m")},
        "tx_m": np.arange(3.0),
    }
    for stamp in stamps:
        xyz = np.array([[10.0, -2.0, 0.5], [30.0, 4.0, 1.0]], np.float16)
        cloud = {axis: xyz[:, k] for k, axis in enumerate("xyz")}
        cloud |= {"intensity": np.array([7, 255], np.uint8), "laser_number": np.array([0, 63], np.uint8)}
        write(f"sensors/lidar/{stamp}.feather", {**cloud, "offset_ns": np.array([0, 99_000_000], np.int32)})
    write("city_SE3_egovehicle.feather", {"timestamp_ns": stamps, **poses})
    sizes = {f"{name}_m": np.full(3, size) for name, size in (("length", 4.5), ("width", 1.9), ("height", 1.6))}
    car = {"track_uuid": ["car-1"] * 3, "category": ["REGULAR_VEHICLE"] * 3, "num_interior_pts": np.array([3, 4, 5])}
    write("annotations.feather", {"timestamp_ns": stamps, **car, **sizes, **poses})
