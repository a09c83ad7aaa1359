"""lidar_detector with faults that a cloud or an odometry message calls up: run as a process by tests/ros."""

from __future__ import annotations

import sys
from typing import Any

from lidarloop_core.errors import BackendError
from lidarloop_core.inference.onnxruntime_backend import OnnxRuntimeBackend
from lidarloop_ros.detector.node import main
from lidarloop_ros.inputs.motion import OdometryTrack

# Intensities that make the backend fail: on the first try alone, always, and with another exception.
FAIL_ONCE, FAIL_ALWAYS, FAIL_STRANGELY = 1001.0, 1002.0, 1003.0
# x of an odometry that makes its callback raise, m.
RAISE_IN_CALLBACK_M = 1004.0


def _infer(self: OnnxRuntimeBackend, inputs: dict[str, Any]) -> dict[str, Any]:
    called_up = float(inputs["points"][:, 3].max())
    has_failed, _state["has_failed"] = _state["has_failed"], called_up == FAIL_ONCE
    if called_up == FAIL_ALWAYS or (called_up == FAIL_ONCE and not has_failed):
        raise BackendError("out of memory, called up")
    if called_up == FAIL_STRANGELY:
        raise KeyError("called up")
    return _real_infer(self, inputs)


def _add(self: OdometryTrack, stamp_ns: int, world_SE3_ego: Any) -> None:
    if world_SE3_ego.translation[0] == RAISE_IN_CALLBACK_M:
        raise RuntimeError("called up")
    _real_add(self, stamp_ns, world_SE3_ego)


_state = {"has_failed": False}
_real_infer, _real_add = OnnxRuntimeBackend.infer, OdometryTrack.add

if __name__ == "__main__":  # a test that imports the names above gets no faults
    setattr(OnnxRuntimeBackend, "infer", _infer)  # noqa: B010
    setattr(OdometryTrack, "add", _add)  # noqa: B010
    sys.exit(main())
