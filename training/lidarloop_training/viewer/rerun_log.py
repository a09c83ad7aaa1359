"""Samples in Rerun: cloud, boxes, cameras with the boxes projected, the ego's path and the lane map.

Only this module imports rerun, an optional dependency.

The tree is ``world / lidar / points | ground_truth | detections``, ``world / cameras / NAME``, ``world / ego_path`` and
``world / lanes``; timelines ``frame`` (position in the source) and ``time`` (stamp of the keyframe).
"""

from __future__ import annotations

import colorsys
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import ConfigError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io.images import Encodable
from lidarloop_core.io.overlay import Layer, wireframes
from lidarloop_core.sample import CameraImage, Sample, Sweep
from lidarloop_training.viewer.frames import ShownFrame
from lidarloop_training.viewer.point_color import PointColor
from lidarloop_training.viewer.sheet import layers
from lidarloop_training.viewer.unit_colors import unit_colors

_WITHOUT_SCREEN = "give --save FILE.rrd for a recording to look at elsewhere, or --png DIR for pictures"
_LOWEST_M, _HIGHEST_M = -3.0, 3.0  # of the LiDAR's frame, for colouring by height


class RerunLog:
    """One recording, into a file or a live viewer."""

    def __init__(self, scene: str, *, save: Path | None, color: PointColor) -> None:
        """Opens the recording.

        Args:
            scene: the recording's name.
            save: the ``.rrd`` file to write; None starts the viewer.
            color: what points are coloured by.

        Raises:
            ConfigError: rerun is not installed.
        """
        self._rr: Any = _rerun()
        self._color = color
        self._path: list[npt.NDArray[np.float64]] = []
        self._scene = ""
        self._recording = self._rr.RecordingStream("lidarloop")
        if save is None:
            _open_viewer(self._recording)
        else:
            self._recording.save(str(save))
        self._recording.send_recording_name(scene)
        self._recording.log("world", self._rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)

    def close(self) -> None:
        """Writes what is still on its way."""
        self._recording.flush()
        self._recording.disconnect()

    def add(self, frame: ShownFrame) -> None:
        """Logs one frame with everything it has."""
        sample, keyframe = frame.sample, frame.sample.keyframe
        self._recording.set_time("frame", sequence=frame.index)
        self._recording.set_time("time", timestamp=np.datetime64(sample.stamp_ns, "ns"))
        for entity in ("world/lidar", "world/cameras"):  # or what this frame lacks would stay from the one before
            self._recording.log(entity, self._rr.Clear(recursive=True))
        world_SE3_ego = keyframe.world_SE3_ego or SE3.identity()
        self._pose("world/lidar", world_SE3_ego @ keyframe.ego_SE3_lidar)
        self._points(sample)
        for layer in layers(frame):
            self._boxes(layer)
        for image in sample.cameras:
            self._camera(frame, image, world_SE3_ego)
        if sample.scene != self._scene:
            self._start_scene(sample)
        if keyframe.world_SE3_ego is not None:
            self._path.append(keyframe.world_SE3_ego.translation)
            self._recording.log("world/ego_path", self._rr.LineStrips3D([self._path], colors=[(255, 176, 32)]))

    def _pose(self, entity: str, parent_SE3_entity: SE3) -> None:
        transform = self._rr.Transform3D(
            translation=parent_SE3_entity.translation, mat3x3=parent_SE3_entity.rotation.astype(np.float32)
        )
        self._recording.log(entity, transform)

    def _points(self, sample: Sample) -> None:
        sweep = sample.keyframe
        colors = unit_colors(sample).rgb if self._color == "unit" else point_colors(sweep, self._color)
        self._recording.log("world/lidar/points", self._rr.Points3D(sweep.points[:, :3], colors=colors, radii=-1.2))

    def _boxes(self, layer: Layer) -> None:
        entity, boxes, colors = f"world/lidar/{layer.name}", layer.boxes, [_rgb(color) for color in layer.colors]
        half_yaw_rad = boxes.yaws / 2
        zero = np.zeros_like(half_yaw_rad)
        self._recording.log(
            entity,
            self._rr.Boxes3D(
                centers=boxes.centers,
                half_sizes=boxes.dimensions / 2,
                quaternions=np.column_stack([zero, zero, np.sin(half_yaw_rad), np.cos(half_yaw_rad)]),
                labels=[f"{name} {score:.2f}" for name, score in zip(boxes.names, boxes.scores, strict=True)],
                colors=colors,
                show_labels=False,
            ),
        )
        heading = np.column_stack([np.cos(boxes.yaws), np.sin(boxes.yaws), zero])
        self._recording.log(
            f"{entity}/heading",
            self._rr.Arrows3D(
                origins=boxes.centers,
                vectors=heading * (boxes.dimensions[:, :1] / 2 + 0.6),
                colors=colors,
            ),
        )

    def _camera(self, frame: ShownFrame, image: CameraImage, world_SE3_ego: SE3) -> None:
        entity = f"world/cameras/{image.name}"
        self._pose(entity, (image.world_SE3_ego or world_SE3_ego) @ image.ego_SE3_camera)
        pinhole = self._rr.Pinhole(
            image_from_camera=image.intrinsics,
            resolution=[image.width, image.height],
            camera_xyz=self._rr.ViewCoordinates.RDF,
            image_plane_distance=2.0,
        )
        self._recording.log(entity, pinhole)
        self._recording.log(f"{entity}/picture", self._picture(image))
        for layer in layers(frame):
            lines, colors = [], []
            for box in wireframes(image, frame.sample.keyframe, layer.boxes):
                lines += [*box.edges, *box.heading]
                colors += [_rgb(layer.colors[box.index])] * (len(box.edges) + len(box.heading))
            # Rerun counts pixels from the outer corner of the first, we from its middle.
            strips = self._rr.LineStrips2D(np.reshape(lines, (-1, 2, 2)) + 0.5, colors=colors)
            self._recording.log(f"{entity}/{layer.name}", strips)

    def _picture(self, image: CameraImage) -> Any:
        if isinstance(image.load, Encodable):  # a file already: its own bytes are smaller and exact
            encoded = image.load.encoded()
            return self._rr.EncodedImage(contents=encoded.data, media_type=f"image/{encoded.format}")
        return self._rr.Image(image.load()).compress(jpeg_quality=85)

    def _start_scene(self, sample: Sample) -> None:
        """Another drive has another path and another map."""
        self._scene, self._path = sample.scene, []
        lanes = sample.lane_map.centerlines if sample.lane_map is not None else ()
        self._recording.log("world/lanes", self._rr.LineStrips3D(list(lanes), colors=[(70, 87, 125)] * len(lanes)))


def _open_viewer(recording: Any) -> None:
    if sys.platform == "linux" and not ("DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ):
        raise ConfigError(f"the Rerun viewer needs a screen, and there is none; {_WITHOUT_SCREEN}")
    # pip puts the viewer beside the interpreter, which need not be on PATH.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    try:
        recording.spawn()
    except RuntimeError as error:
        raise ConfigError(f"the Rerun viewer did not start ({str(error).splitlines()[0]}); {_WITHOUT_SCREEN}") from None


def point_colors(sweep: Sweep, color: PointColor) -> npt.NDArray[np.uint8]:
    """(N, 3) uint8 colours of a sweep's points.

    Raises:
        ConfigError: the sweep has no such column.
    """
    if color == "height":
        return _ramp((sweep.points[:, 2] - _LOWEST_M) / (_HIGHEST_M - _LOWEST_M))
    if color not in sweep.columns:
        raise ConfigError(
            f"received --color {color}; expected height or a column of these points: {', '.join(sweep.columns)}"
        )
    values = sweep.points[:, sweep.columns.index(color)]
    if color == "label":
        return _label_colors(values.astype(np.int64))
    return _ramp(np.sqrt(values / 255))  # most returns are weak


def _ramp(share: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """(N,) in [0, 1] → (N, 3) from dark blue over green to light yellow."""
    stops = np.array([[48, 60, 140], [30, 140, 140], [90, 200, 100], [250, 235, 120]], dtype=np.float64)
    place = np.clip(np.nan_to_num(share), 0, 1) * (len(stops) - 1)
    channels = [np.interp(place, np.arange(len(stops)), stops[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=1).astype(np.uint8)


def _label_colors(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """A colour for each class index; neighbours differ by the golden angle in hue."""
    known, place = np.unique(labels, return_inverse=True)
    palette = [colorsys.hsv_to_rgb((index * 0.618034) % 1, 0.65, 0.95) for index in known.tolist()]
    colors: npt.NDArray[np.uint8] = (np.array(palette).reshape(-1, 3) * 255).astype(np.uint8)[place]
    return colors


def _rgb(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def _rerun() -> ModuleType:
    try:
        import rerun
    except ImportError:
        raise ConfigError(
            "the Rerun viewer is not installed; install it with `pip install lidarloop[view]`, "
            "or give --png DIR for pictures, which need nothing further"
        ) from None
    return rerun
