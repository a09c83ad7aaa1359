"""A small Waymo Open Dataset v2 segment, written apart from the reader: no real sample may be passed on.

The columns and Arrow types are those that the published component classes declare, field by field, with the ``index``
column of released files. The scene is known points of the world; this module finds the pixel that sees each of them by
the published inverse (point → row, column: nearest inclination, ``W - 1/2 - (azimuth + π) / 2π · W``), from a vehicle
that moves while the top LiDAR turns. It shares no code with the reader, and nothing but numpy, scipy, PIL and pyarrow.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from scipy.spatial.transform import Rotation

SEGMENT = "10023947602400723454_1120_000_1140_000"
FIRST_US = 1_552_440_195_362_591
PERIOD_US = 100_000
SPEED_MPS = 8.0  # forward; a revolution takes 0.1 s, in which the vehicle also turns
TURN_RADPS = 0.3

# laser: rows, columns, mounting (yaw, pitch, roll, x, y, z), least and greatest inclination, evenly spread?
LASERS = {
    1: (64, 1324, (2.585, 0.002, -0.004, 1.43, 0.0, 2.184), (-0.3156, 0.0423), False),
    2: (40, 300, (0.003, -0.001, 0.002, 4.07, 0.0, 0.691), (-1.5708, 0.5236), True),
    3: (40, 300, (1.572, 0.001, 0.0, 3.245, 1.025, 0.982), (-1.5708, 0.5236), True),
    4: (40, 300, (-1.569, 0.0, 0.001, 3.245, -1.025, 0.981), (-1.5708, 0.5236), True),
    5: (40, 300, (3.140, 0.0, 0.0, -1.155, 0.0, 0.466), (-1.5708, 0.5236), True),
}

CAMERA_SIZE = (192, 128)
# camera: focal length, mounting (yaw, x, y, z); axes x forward, y left, z up
CAMERAS = {1: (110.0, (0.01, 1.54, -0.02, 2.11)), 2: (105.0, (0.78, 1.49, 0.09, 2.11))}
DISTORTION = (-0.25, 0.05, 0.001, -0.002, 0.02)  # k1 k2 p1 p2 k3

BOXES = [
    # id, type, centre, size, heading, speed in the world, points, difficulty for detection
    ("car", 1, (12.345678, -3.25, 0.8123), (4.51, 1.93, 1.61), 0.31, (7.5, 1.25, 0.01), 120, 0),
    ("far car", 1, (60.25, 20.5, 1.2), (4.9, 2.0, 1.7), -3.1, (0.0, 0.0, 0.0), 4, 0),
    ("walker", 2, (8.0, 5.5, 0.95), (0.8, 0.7, 1.75), 1.7, (-0.5, 1.25, 0.0), 33, 2),
    ("rider", 4, (-9.5, 2.0, 0.9), (1.8, 0.6, 1.7), -1.2, None, 0, 0),
    ("stop sign", 3, (15.0, 6.0, 2.5), (0.1, 0.7, 0.7), 0.0, None, 9, 0),
]


def pose_matrix(seconds: float) -> np.ndarray:
    """world_from_vehicle: far from the world's origin, as in Waymo, on a slope and in a curve."""
    yaw = 0.8 + TURN_RADPS * seconds
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("ZYX", [yaw, 0.02, -0.01]).as_matrix()
    matrix[:3, 3] = (860.6 + SPEED_MPS * np.cos(0.8) * seconds, 15568.7 + SPEED_MPS * np.sin(0.8) * seconds, -651.4)
    return matrix


def frame_matrix(index: int) -> np.ndarray:
    """The frame's pose: that of its middle, 50 ms after its stamp."""
    return pose_matrix(0.1 * index + 0.05)


def mounting_matrix(laser: int) -> np.ndarray:
    yaw, pitch, roll, x, y, z = LASERS[laser][2]
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("ZYX", [yaw, pitch, roll]).as_matrix()
    matrix[:3, 3] = (x, y, z)
    return matrix


def camera_matrix(camera: int) -> np.ndarray:
    yaw, x, y, z = CAMERAS[camera][1]
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("z", yaw).as_matrix()
    matrix[:3, 3] = (x, y, z)
    return matrix


def inclinations(laser: int) -> np.ndarray:
    """From the lowest beam up; the top LiDAR's lie closer together near the horizon."""
    rows, _, _, (low, high), even = LASERS[laser]
    share = (np.arange(rows) + 0.5) / rows
    return low + (high - low) * (share if even else np.sqrt(share))


@dataclass
class Seen:
    """What one LiDAR saw of the scene in one frame, by pixel.

    Attributes:
        range_image: (H, W, 4).
        pixel_pose: (H, W, 6).
        points: (N, 3) world.
        pixels: (N, 2) row and column of each.
        intensity: (N,) as Waymo would give it.
    """

    range_image: np.ndarray
    pixel_pose: np.ndarray
    points: np.ndarray
    pixels: np.ndarray
    intensity: np.ndarray


def scene(index: int, laser: int, return_number: int) -> np.ndarray:
    """Points of the world round the vehicle, all within the LiDAR's field of view."""
    random = np.random.default_rng([index, laser, return_number])
    count = 1500 if laser == 1 else 200
    low, high = LASERS[laser][3]
    ranges = random.uniform(2.5, 70.0 if laser == 1 else 15.0, count)
    azimuth = random.uniform(-np.pi, np.pi, count)
    inclination = random.uniform(max(low, -1.2), high, count) * 0.95
    directions = [np.cos(azimuth) * np.cos(inclination), np.sin(azimuth) * np.cos(inclination), np.sin(inclination)]
    in_sensor = np.stack(directions, axis=1) * ranges[:, None]
    in_vehicle = in_sensor @ mounting_matrix(laser)[:3, :3].T + mounting_matrix(laser)[:3, 3]
    return in_vehicle @ frame_matrix(index)[:3, :3].T + frame_matrix(index)[:3, 3]


def observe(index: int, laser: int, return_number: int = 1) -> Seen:
    """Projects the scene into a range image; where two points share a pixel, the first stays."""
    rows, columns = LASERS[laser][:2]
    points = scene(index, laser, return_number)
    from_bottom = inclinations(laser)
    mounting = mounting_matrix(laser)
    yaw_of_mounting = np.arctan2(mounting[1, 0], mounting[0, 0])
    random = np.random.default_rng([7, index, laser, return_number])
    intensity = random.exponential(0.4, len(points)).astype(np.float32)
    intensity[0] = 4000.0  # a retro-reflector
    image = np.zeros((rows, columns, 4), np.float32)
    image[..., 0] = -1.0  # nothing came back
    poses = np.zeros((rows, columns, 6), np.float32)
    for column in range(columns):
        matrix = pose_matrix(0.1 * index + 0.1 * (column + 0.5) / columns)
        yaw, pitch, roll = Rotation.from_matrix(matrix[:3, :3]).as_euler("ZYX")
        poses[:, column] = (roll, pitch, yaw, *matrix[:3, 3])
    kept, pixels = [], []
    for i, point in enumerate(points):
        column = before = columns // 2
        for _ in range(4):  # the column says when the point was seen, and from where it was seen gives the column
            before = column
            when = 0.1 * index + 0.1 * (column + 0.5) / columns if laser == 1 else 0.1 * index + 0.05
            in_sensor = np.linalg.solve(pose_matrix(when) @ mounting, np.append(point, 1.0))[:3]
            azimuth = np.arctan2(in_sensor[1], in_sensor[0]) + yaw_of_mounting
            azimuth = (azimuth + np.pi) % (2 * np.pi) - np.pi
            column = round(columns - 0.5 - (azimuth + np.pi) / (2 * np.pi) * columns) % columns
        inclination = np.arctan2(in_sensor[2], np.hypot(in_sensor[0], in_sensor[1]))
        if not from_bottom[0] <= inclination <= from_bottom[-1]:  # moved out of view
            continue
        row = rows - 1 - int(np.argmin(np.abs(from_bottom - inclination)))
        if image[row, column, 0] > 0 or column != before:  # straight behind, a point may be seen twice or never
            continue
        image[row, column] = (np.linalg.norm(in_sensor), intensity[i], 0.01 * (i % 100), -1.0)
        kept.append(i)
        pixels.append((row, column))
    return Seen(image, poses, points[kept], np.array(pixels), intensity[kept])


def distorted_pixel(camera: int, in_vehicle: np.ndarray) -> tuple[float, float]:
    """Where a point of the vehicle's frame appears in the published picture: u = -y/x, v = -z/x, then the lens."""
    x, y, z = np.linalg.solve(camera_matrix(camera), np.append(in_vehicle, 1.0))[:3]
    u, v = -y / x, -z / x
    k1, k2, p1, p2, k3 = DISTORTION
    r2 = u * u + v * v
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    u_lens = u * radial + 2 * p1 * u * v + p2 * (r2 + 2 * u * u)
    v_lens = v * radial + p1 * (r2 + 2 * v * v) + 2 * p2 * u * v
    focal = CAMERAS[camera][0]
    return focal * u_lens + CAMERA_SIZE[0] / 2, focal * v_lens + CAMERA_SIZE[1] / 2


LANDMARKS = {1: [(12.0, 6.0, 3.5), (9.0, -4.5, 1.0)], 2: [(9.0, 3.5, 0.5)]}
"""Points of the vehicle's frame that are painted as white discs into the pictures, by camera."""


def picture(camera: int) -> bytes:
    width, height = CAMERA_SIZE
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    grey = np.full((height, width), 20.0)
    for landmark in LANDMARKS[camera]:
        u, v = distorted_pixel(camera, np.array(landmark))
        grey += 220 * np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * 1.5**2))
    buffer = io.BytesIO()
    Image.fromarray(np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)).save(
        buffer, "JPEG", quality=98
    )
    return buffer.getvalue()


@dataclass
class Options:
    """What a test may want otherwise."""

    num_frames: int = 3
    second_returns: bool = True
    row_group_size: int = 1000
    seen: dict[tuple[int, int, int], Seen] = field(default_factory=dict)

    def observed(self, index: int, laser: int, return_number: int) -> Seen:
        key = (index, laser, return_number)
        if key not in self.seen:
            self.seen[key] = observe(*key)
        return self.seen[key]


def write_segment(root: Path, options: Options) -> Options:
    """Writes all components of the segment; ``options.seen`` then says what was seen, by frame, laser and return."""
    stamps = [FIRST_US + i * PERIOD_US for i in range(options.num_frames)]
    writers = {
        "vehicle_pose": lambda: _vehicle_pose(stamps),
        "lidar": lambda: _lidar(stamps, options),
        "lidar_pose": lambda: _lidar_pose(stamps, options),
        "lidar_calibration": _lidar_calibration,
        "lidar_box": lambda: _lidar_box(stamps),
        "camera_image": lambda: _camera_image(stamps),
        "camera_calibration": _camera_calibration,
    }
    for tag, make in writers.items():
        schema, columns = make()
        num_rows = len(next(iter(columns.values())))
        columns = {"key.segment_context_name": [SEGMENT] * num_rows, **columns}
        schema = [("key.segment_context_name", pa.string()), *schema]
        columns["index"] = [f"{SEGMENT};{i}" for i in range(num_rows)]
        table = pa.table(columns, schema=pa.schema([*schema, ("index", pa.string())]))
        (root / tag).mkdir(parents=True, exist_ok=True)
        pq.write_table(table, root / tag / f"{SEGMENT}.parquet", row_group_size=options.row_group_size)
    return options


_FRAME = ("key.frame_timestamp_micros", pa.int64())
_MATRIX = pa.list_(pa.float64(), 16)
_SHAPE = pa.list_(pa.int32(), 3)


def _vehicle_pose(stamps: list[int]) -> tuple[Any, ...]:
    # Released files hold float32 here, against the declared float64.
    column = "[VehiclePoseComponent].world_from_vehicle.transform"
    schema = [_FRAME, (column, pa.list_(pa.float32(), 16))]
    poses = [frame_matrix(i).ravel().astype(np.float32) for i in range(len(stamps))]
    return schema, {"key.frame_timestamp_micros": stamps, column: poses}


def _lidar(stamps: list[int], options: Options) -> tuple[Any, ...]:
    rows = [(i, stamp, laser) for i, stamp in enumerate(stamps) for laser in sorted(LASERS, reverse=i == 1)]
    schema = [_FRAME, ("key.laser_name", pa.int8())]
    columns = {"key.frame_timestamp_micros": [r[1] for r in rows], "key.laser_name": [r[2] for r in rows]}
    for number in (1, 2):
        values, shapes = [], []
        for i, _, laser in rows:
            if number == 2 and not (options.second_returns and laser == 1):
                values.append(None)
                shapes.append(None)
                continue
            seen = options.observed(i, laser, number)
            values.append(seen.range_image.ravel())
            shapes.append(list(seen.range_image.shape))
        name = f"[LiDARComponent].range_image_return{number}"
        # Parquet has no null for the declared list of three: where a return is absent, the length is left open.
        shape = _SHAPE if all(shapes) else pa.list_(pa.int32())
        schema += [(f"{name}.values", pa.list_(pa.float32())), (f"{name}.shape", shape)]
        columns |= {f"{name}.values": values, f"{name}.shape": shapes}
    return schema, columns


def _lidar_pose(stamps: list[int], options: Options) -> tuple[Any, ...]:
    name = "[LiDARPoseComponent].range_image_return1"
    schema = [_FRAME, ("key.laser_name", pa.int8()), (f"{name}.values", pa.list_(pa.float32()))]
    schema += [(f"{name}.shape", _SHAPE)]
    seen = [options.observed(i, 1, 1) for i in range(len(stamps))]
    return schema, {
        "key.frame_timestamp_micros": stamps,
        "key.laser_name": [1] * len(stamps),
        f"{name}.values": [s.pixel_pose.ravel() for s in seen],
        f"{name}.shape": [list(s.pixel_pose.shape) for s in seen],
    }


def _lidar_calibration() -> tuple[Any, ...]:
    name = "[LiDARCalibrationComponent]"
    schema = [("key.laser_name", pa.int8()), (f"{name}.extrinsic.transform", _MATRIX)]
    schema += [(f"{name}.beam_inclination.{end}", pa.float64()) for end in ("min", "max")]
    schema += [(f"{name}.beam_inclination.values", pa.list_(pa.float64()))]
    return schema, {
        "key.laser_name": list(LASERS),
        f"{name}.extrinsic.transform": [mounting_matrix(laser).ravel() for laser in LASERS],
        f"{name}.beam_inclination.min": [LASERS[laser][3][0] for laser in LASERS],
        f"{name}.beam_inclination.max": [LASERS[laser][3][1] for laser in LASERS],
        f"{name}.beam_inclination.values": [None if LASERS[n][4] else inclinations(n) for n in LASERS],
    }


def _lidar_box(stamps: list[int]) -> tuple[list[tuple[str, Any]], dict[str, Any]]:
    name = "[LiDARBoxComponent]"
    rows = [(stamp, box) for stamp in stamps for box in BOXES]
    columns: dict[str, list] = {
        "key.frame_timestamp_micros": [stamp for stamp, _ in rows],
        "key.laser_object_id": [box[0] for _, box in rows],
    }
    schema = [_FRAME, ("key.laser_object_id", pa.string())]
    for part, place in (("center", 2), ("size", 3)):
        for axis, letter in enumerate("xyz"):
            schema.append((f"{name}.box.{part}.{letter}", pa.float64()))
            columns[schema[-1][0]] = [box[place][axis] for _, box in rows]
    schema.append((f"{name}.box.heading", pa.float64()))
    columns[schema[-1][0]] = [box[4] for _, box in rows]
    schema.append((f"{name}.type", pa.int8()))
    columns[schema[-1][0]] = [box[1] for _, box in rows]
    for which in ("num_lidar_points_in_box", "num_top_lidar_points_in_box"):
        schema.append((f"{name}.{which}", pa.int64()))
        columns[schema[-1][0]] = [box[6] for _, box in rows]
    for part in ("speed", "acceleration"):
        for axis, letter in enumerate("xyz"):
            schema.append((f"{name}.{part}.{letter}", pa.float64()))
            known = [box[5] if part == "speed" else None for _, box in rows]
            columns[schema[-1][0]] = [None if vector is None else vector[axis] for vector in known]
    for which in ("detection", "tracking"):
        schema.append((f"{name}.difficulty_level.{which}", pa.int8()))
        columns[schema[-1][0]] = [box[7] or None for _, box in rows]
    return schema, columns


def _camera_image(stamps: list[int]) -> tuple[Any, ...]:
    name = "[CameraImageComponent]"
    rows = [(i, stamp, camera) for i, stamp in enumerate(stamps) for camera in (2, 1)]
    velocity = [(f"{name}.velocity.linear_velocity.{axis}", pa.float32()) for axis in "xyz"]
    velocity += [(f"{name}.velocity.angular_velocity.{axis}", pa.float64()) for axis in "xyz"]
    shutter = ("shutter", "camera_trigger_time", "camera_readout_done_time")
    times = [(f"{name}.pose_timestamp", pa.float64())]
    times += [(f"{name}.rolling_shutter_params.{part}", pa.float64()) for part in shutter]
    schema = [_FRAME, ("key.camera_name", pa.int8()), (f"{name}.image", pa.binary())]
    schema += [(f"{name}.pose.transform", _MATRIX), *velocity, *times]
    columns: dict[str, list[Any]] = {column: [0.0] * len(rows) for column, _ in (*velocity, *times)}
    columns["key.frame_timestamp_micros"] = [stamp for _, stamp, _ in rows]
    columns["key.camera_name"] = [camera for _, _, camera in rows]
    columns[f"{name}.image"] = [picture(camera) for _, _, camera in rows]
    columns[f"{name}.pose.transform"] = [pose_matrix(0.1 * i + 0.01 * camera).ravel() for i, _, camera in rows]
    columns[f"{name}.pose_timestamp"] = [(stamp + 10_000 * camera) * 1e-6 for _, stamp, camera in rows]
    return schema, columns


def _camera_calibration() -> tuple[Any, ...]:
    name = "[CameraCalibrationComponent]"
    values = {field_name: [CAMERAS[camera][0] for camera in CAMERAS] for field_name in ("f_u", "f_v")}
    values |= {"c_u": [CAMERA_SIZE[0] / 2] * len(CAMERAS), "c_v": [CAMERA_SIZE[1] / 2] * len(CAMERAS)}
    values |= {k: [v] * len(CAMERAS) for k, v in zip(("k1", "k2", "p1", "p2", "k3"), DISTORTION, strict=True)}
    schema = [("key.camera_name", pa.int8())]
    schema += [(f"{name}.intrinsic.{field_name}", pa.float64()) for field_name in values]
    schema += [(f"{name}.extrinsic.transform", _MATRIX), (f"{name}.width", pa.int32()), (f"{name}.height", pa.int32())]
    schema += [(f"{name}.rolling_shutter_direction", pa.int8())]
    columns: dict[str, list[Any]] = {"key.camera_name": list(CAMERAS)}
    columns |= {f"{name}.intrinsic.{field_name}": numbers for field_name, numbers in values.items()}
    columns[f"{name}.extrinsic.transform"] = [camera_matrix(camera).ravel() for camera in CAMERAS]
    columns[f"{name}.width"] = [CAMERA_SIZE[0]] * len(CAMERAS)
    columns[f"{name}.height"] = [CAMERA_SIZE[1]] * len(CAMERAS)
    columns[f"{name}.rolling_shutter_direction"] = [2] * len(CAMERAS)
    return schema, columns
