"""Rigid transforms, named by what they do: ``dst_SE3_src`` maps points of frame *src* into frame *dst*."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from lidarloop_core.errors import PoseError

FloatArray = npt.NDArray[np.floating[Any]]

_IDENTITY = np.eye(3)


@dataclass(frozen=True)
class SE3:
    """A rigid transform.

    Attributes:
        rotation: (3, 3) float64, proper orthogonal.
        translation: (3,) float64, metres.

    Raises:
        PoseError: another shape, numbers that are not finite, or a matrix that is no rotation.
    """

    rotation: npt.NDArray[np.float64]
    translation: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        rotation, translation = _numbers(self.rotation), _numbers(self.translation)
        if rotation.shape != (3, 3) or translation.shape != (3,):
            raise PoseError(
                f"SE3 received rotation {rotation.shape} and translation {translation.shape}; expected (3, 3) and (3,)"
            )
        if not (np.isfinite(rotation).all() and np.isfinite(translation).all()):
            raise PoseError("SE3 received a non-finite rotation or translation; check the pose's source")
        # A tenth of np.allclose's time, which counts: a node composes dozens of poses for each cloud.
        if np.abs(rotation @ rotation.T - _IDENTITY).max() > 1e-4 or np.linalg.det(rotation) < 0:
            raise PoseError("SE3 received a matrix that is no rotation; expected an orthogonal one with determinant +1")
        rotation.setflags(write=False)
        translation.setflags(write=False)
        object.__setattr__(self, "rotation", rotation)
        object.__setattr__(self, "translation", translation)

    @staticmethod
    def identity() -> SE3:
        return SE3(np.eye(3), np.zeros(3))

    @staticmethod
    def from_matrix(matrix: npt.ArrayLike) -> SE3:
        """From a (4, 4) or (3, 4) homogeneous matrix.

        Raises:
            PoseError: another shape, or its rotation is none.
        """
        m = _numbers(matrix)
        if m.shape not in ((4, 4), (3, 4)):
            raise PoseError(f"SE3.from_matrix received shape {m.shape}; expected (4, 4) or (3, 4)")
        return SE3(m[:3, :3], m[:3, 3])

    @staticmethod
    def from_xyzw(quaternion_xyzw: npt.ArrayLike, translation: npt.ArrayLike) -> SE3:
        """From a (4,) quaternion in ROS order (x, y, z, w), which need not be normalised, and (3,) metres.

        Raises:
            PoseError: another shape, a quaternion of zeros, or numbers that are not finite.
        """
        xyzw = _numbers(quaternion_xyzw)
        if xyzw.shape != (4,) or not np.isfinite(xyzw).all() or np.linalg.norm(xyzw) < 1e-9:
            raise PoseError(
                f"SE3 received the quaternion {xyzw.tolist()}; expected 4 finite numbers that are not all zero: check "
                "the pose's source"
            )
        return SE3(Rotation.from_quat(xyzw).as_matrix(), _numbers(translation))

    @staticmethod
    def from_wxyz(quaternion_wxyz: npt.ArrayLike, translation: npt.ArrayLike) -> SE3:
        """From a (4,) quaternion in nuScenes order (w, x, y, z), and (3,) metres; raises as ``from_xyzw``."""
        return SE3.from_xyzw(np.roll(_numbers(quaternion_wxyz), -1), translation)

    @staticmethod
    def from_yaw(yaw_rad: float, translation: npt.ArrayLike = (0.0, 0.0, 0.0)) -> SE3:
        """A rotation by ``yaw_rad`` about +z, counter-clockwise from +x (REP-103), then ``translation`` (3,) m."""
        c, s = np.cos(yaw_rad), np.sin(yaw_rad)
        return SE3(np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]), np.asarray(translation))

    @property
    def xyzw(self) -> npt.NDArray[np.float64]:
        """(4,) quaternion in ROS order, w ≥ 0."""
        xyzw: npt.NDArray[np.float64] = Rotation.from_matrix(self.rotation).as_quat(canonical=True)
        return xyzw

    @property
    def wxyz(self) -> npt.NDArray[np.float64]:
        """(4,) quaternion in nuScenes order, w ≥ 0."""
        return np.roll(self.xyzw, 1)

    @property
    def matrix(self) -> npt.NDArray[np.float64]:
        """(4, 4) homogeneous matrix."""
        m = np.eye(4)
        m[:3, :3] = self.rotation
        m[:3, 3] = self.translation
        return m

    @property
    def yaw_rad(self) -> float:
        """Heading of the rotated x axis in the xy plane, in (-π, π]."""
        return float(np.arctan2(self.rotation[1, 0], self.rotation[0, 0]))

    def inverse(self) -> SE3:
        """``dst_SE3_src.inverse()`` is ``src_SE3_dst``."""
        return SE3(self.rotation.T, -self.rotation.T @ self.translation)

    def __matmul__(self, other: SE3) -> SE3:
        """``a_SE3_b @ b_SE3_c`` is ``a_SE3_c``."""
        return SE3(self.rotation @ other.rotation, self.rotation @ other.translation + self.translation)

    def transform(self, points: FloatArray) -> FloatArray:
        """Maps (N, 3) points from *src* to *dst*; float32 in gives float32 out."""
        dtype = points.dtype
        result: FloatArray = points @ self.rotation.T.astype(dtype) + self.translation.astype(dtype)
        return result

    def rotate(self, vectors: FloatArray) -> FloatArray:
        """Rotates (N, 3) direction vectors (velocities, normals), without the translation."""
        result: FloatArray = vectors @ self.rotation.T.astype(vectors.dtype)
        return result

    def rotate_yaws(self, yaws_rad: FloatArray) -> FloatArray:
        """Maps (N,) headings in the xy plane from *src* to *dst*, in (-π, π]; float32 in gives float32 out.

        Where the axes z differ it is the heading of the rotated direction's part in the plane.
        """
        headings = self.rotate(np.stack([np.cos(yaws_rad), np.sin(yaws_rad), np.zeros_like(yaws_rad)], axis=1))
        rotated: FloatArray = np.arctan2(headings[:, 1], headings[:, 0])
        return rotated


def _numbers(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """A copy as float64."""
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise PoseError(f"SE3 received {str(values)[:200]} ({error}); expected numbers") from None


def interpolate(a: SE3, b: SE3, fraction: float) -> SE3:
    """The pose ``fraction`` of the way from ``a`` to ``b`` at constant velocity; outside [0, 1] it extrapolates.

    Constant in the moving frame: a·exp(fraction·log(a⁻¹b)), a screw motion. A vehicle that keeps its speed and its
    steering drives an arc; on the chord between two poses 0.1 s apart it would be 2 cm off at 25 m/s and 40°/s.

    Source: Murray, Li, Sastry, "A Mathematical Introduction to Robotic Manipulation", 1994, section 2.3.
    """
    rotvec = Rotation.from_matrix(a.rotation.T @ b.rotation).as_rotvec()
    travelled = a.rotation.T @ (b.translation - a.translation)
    way = np.linalg.solve(_left_jacobian(rotvec), travelled)
    return a @ from_twist(fraction * way, fraction * rotvec)


def from_twist(way: FloatArray, rotvec: FloatArray) -> SE3:
    """exp of a twist: where constant velocities lead that are given in the moving frame.

    Args:
        way: (3,) linear velocity × time, metres.
        rotvec: (3,) angular velocity × time, radians.
    """
    return SE3(Rotation.from_rotvec(rotvec).as_matrix(), _left_jacobian(rotvec) @ way)


def _left_jacobian(rotvec: FloatArray) -> npt.NDArray[np.float64]:
    """(3, 3) matrix that turns a constant velocity into the way travelled while rotating by ``rotvec`` (3,) rad."""
    x, y, z = rotvec
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    angle = float(np.sqrt(x * x + y * y + z * z))
    if angle < 1e-4:  # the two quotients below lose their digits
        first, second = 1 / 2, 1 / 6
    else:
        first, second = (1 - np.cos(angle)) / angle**2, (angle - np.sin(angle)) / angle**3
    jacobian: npt.NDArray[np.float64] = _IDENTITY + first * cross + second * (cross @ cross)
    return jacobian
