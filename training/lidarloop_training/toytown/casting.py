"""Ray casting against one triangle mesh (Intel Embree through embreex)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from embreex import rtcore, rtcore_scene
from embreex.mesh_construction import TriangleMesh

from lidarloop_training.toytown.solids.shapes import Mesh


@dataclass(frozen=True)
class Hits:
    """First hits of N rays.

    Attributes:
        distance: (N,) float32, in units of the direction's length; inf where nothing was hit.
        face: (N,) int32 face of the mesh; -1 where nothing was hit.
        normal: (N, 3) float32 outward normal of the face, unit length; undefined where nothing was hit.
    """

    distance: npt.NDArray[np.float32]
    face: npt.NDArray[np.int32]
    normal: npt.NDArray[np.float32]


@cache
def _device() -> rtcore.EmbreeDevice:
    """One for the process: each takes a thread-local key, of which a process has about a thousand."""
    return rtcore.EmbreeDevice()


class Caster:
    """A mesh made ready for many rays."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self._scene = rtcore_scene.EmbreeScene(_device())
        # The geometry belongs to the scene, but embreex frees it with its Python object.
        self._geometry = TriangleMesh(
            self._scene, mesh.vertices.astype(np.float32), np.ascontiguousarray(mesh.faces, dtype=np.int32)
        )

    def cast(self, origins: npt.NDArray[np.float32], directions: npt.NDArray[np.float32], reach: float) -> Hits:
        """First hits within ``reach``.

        Args:
            origins: (N, 3) float32, in the mesh's frame.
            directions: (N, 3) float32.
            reach: largest distance, in units of the direction's length.
        """
        if not len(origins):
            return Hits(np.zeros(0, np.float32), np.zeros(0, np.int32), np.zeros((0, 3), np.float32))
        found = self._scene.run(
            np.ascontiguousarray(origins, dtype=np.float32),
            np.ascontiguousarray(directions, dtype=np.float32),
            dists=np.full(len(origins), reach, dtype=np.float32),
            output=True,
        )
        face = found["primID"]
        distance = np.where(face >= 0, found["tfar"], np.float32(np.inf))
        normal = found["Ng"]
        length = np.sqrt(np.einsum("ij,ij->i", normal, normal))
        return Hits(distance, face, normal / np.maximum(length, np.float32(1e-12))[:, None])
