"""Six pinhole cameras, placed as in nuScenes, rendered by ray casting: colour and which actor each pixel shows.

Pixel centres are at integers, as everywhere in this project (``geometry.camera``): a pixel covers [column - 0.5,
column + 0.5) × [row - 0.5, row + 0.5) and is sampled at its centre, and a projected point (u, v) falls into the pixel
that (u, v) is rounded to. Exposure is instantaneous, at the LiDAR's stamp.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lidarloop_core.geometry.boxes import corners
from lidarloop_core.geometry.se3 import SE3
from lidarloop_training.toytown.casting import Hits
from lidarloop_training.toytown.solids.shapes import Mesh
from lidarloop_training.toytown.streets.ground import COVERS
from lidarloop_training.toytown.town import Town

Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]

WIDTH, HEIGHT = 400, 225
_REACH_M = 150.0
_HAZE_M = 220.0
_SKY_LOW = np.array([206, 220, 234], np.float32)
_SKY_HIGH = np.array([116, 160, 216], np.float32)
_COVER_COLOUR = np.array([c.colour for c in COVERS], np.uint8)


@dataclass(frozen=True)
class Camera:
    """A mounted camera.

    Attributes:
        name: channel name, as in nuScenes.
        ego_SE3_camera: mounting pose of the optical frame (x right, y down, z forward).
        intrinsics: (3, 3) pinhole matrix, pixels.
    """

    name: str
    ego_SE3_camera: SE3
    intrinsics: FloatArray


def _camera(name: str, position: tuple[float, float, float], yaw_deg: float, view_deg: float) -> Camera:
    optical = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    focal = WIDTH / 2 / np.tan(np.radians(view_deg) / 2)
    # The image's middle: pixel centres are at integers, so the first pixel begins at -0.5.
    intrinsics = np.array([[focal, 0.0, (WIDTH - 1) / 2], [0.0, focal, (HEIGHT - 1) / 2], [0.0, 0.0, 1.0]])
    turn = SE3.from_yaw(np.radians(yaw_deg), position)
    return Camera(name, turn @ SE3(optical, np.zeros(3)), intrinsics)


CAMERAS = (
    _camera("CAM_FRONT", (1.7, 0.0, 1.51), 0, 70),
    _camera("CAM_FRONT_RIGHT", (1.55, -0.5, 1.5), -55, 70),
    _camera("CAM_FRONT_LEFT", (1.55, 0.5, 1.5), 55, 70),
    _camera("CAM_BACK", (0.03, 0.0, 1.57), 180, 110),
    _camera("CAM_BACK_LEFT", (1.03, 0.48, 1.56), 110, 70),
    _camera("CAM_BACK_RIGHT", (1.01, -0.48, 1.56), -110, 70),
)


@dataclass(frozen=True)
class Picture:
    """What a camera saw.

    Attributes:
        rgb: (H, W, 3) uint8.
        actor: (H, W) int16 index of the actor each pixel shows; -1 for none.
        distance: (H, W) float32 metres from the camera to what each pixel shows, along its ray; infinite for the sky.
    """

    rgb: npt.NDArray[np.uint8]
    actor: npt.NDArray[np.int16]
    distance: Float32Array


@dataclass
class _Film:
    """Nearest hits so far, one row a pixel."""

    distance: Float32Array
    colour: npt.NDArray[np.uint8]
    normal: Float32Array
    actor: npt.NDArray[np.int16]


def render(town: Town, camera: Camera, time_s: float) -> Picture:
    """What a camera sees at ``time_s``, seconds since the drive's first stamp."""
    world_SE3_camera = town.world_SE3_ego(time_s) @ camera.ego_SE3_camera
    rays = _pixel_rays(camera)
    directions = (rays @ world_SE3_camera.rotation.T).astype(np.float32)
    origin = world_SE3_camera.translation
    film = _film_of(town, origin, directions)
    for index, window in _actors_in_view(town, camera, world_SE3_camera, time_s):
        _expose_actor(town, index, window, time_s, origin, directions, film)
    rgb = _develop(town, film, directions).reshape(HEIGHT, WIDTH, 3)
    return Picture(rgb, film.actor.reshape(HEIGHT, WIDTH), film.distance.reshape(HEIGHT, WIDTH))


def _pixel_rays(camera: Camera) -> FloatArray:
    """(H·W, 3) unit vectors through the pixels' centres, optical frame."""
    u, v = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    rays = np.stack([u, v, np.ones_like(u)], axis=-1).reshape(-1, 3) @ np.linalg.inv(camera.intrinsics).T
    unit: FloatArray = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    return unit


def _film_of(town: Town, origin: FloatArray, directions: Float32Array) -> _Film:
    """Ground and scenery."""
    start = np.broadcast_to(origin.astype(np.float32), directions.shape)
    hits = town.static.cast(start, directions, _REACH_M)
    colour = _colours(town.static.mesh, hits, start, directions)
    on_ground = np.flatnonzero((hits.face >= 0) & (hits.face < town.num_ground_faces))
    landed = origin[:2] + hits.distance[on_ground, None] * directions[on_ground, :2]
    colour[on_ground] = _COVER_COLOUR[town.ground.cover_at(landed)]
    return _Film(hits.distance, colour, hits.normal, np.full(len(directions), -1, np.int16))


def _colours(mesh: Mesh, hits: Hits, origins: Float32Array, directions: Float32Array) -> npt.NDArray[np.uint8]:
    """(N, 3) RGB of what rays hit, patterns included; undefined where nothing was hit. All in the mesh's frame."""
    colours = mesh.colour[hits.face]
    on_pattern = np.flatnonzero(mesh.patterned[hits.face] & (hits.face >= 0))
    if len(on_pattern):
        points = origins[on_pattern] + hits.distance[on_pattern, None] * directions[on_pattern]
        colours[on_pattern] = mesh.pattern_at(hits.face[on_pattern], points)
    return colours


def _actors_in_view(
    town: Town, camera: Camera, world_SE3_camera: SE3, time_s: float
) -> list[tuple[int, tuple[slice, slice]]]:
    """Actors whose cuboid the picture may show, with the rows and columns that may show it."""
    camera_SE3_world = world_SE3_camera.inverse()
    poses = np.concatenate([actor.poses(np.array([time_s])) for actor in town.actors])
    sizes = np.array([actor.shape.size for actor in town.actors])
    cuboids = corners(np.column_stack([poses[:, :3], sizes, poses[:, 3]]))
    found = []
    for index in np.flatnonzero(np.linalg.norm(poses[:, :3] - world_SE3_camera.translation, axis=1) < _REACH_M):
        window = _window(camera.intrinsics, camera_SE3_world.transform(cuboids[index]))
        if window is not None:
            found.append((int(index), window))
    return found


def _window(intrinsics: FloatArray, cuboid: FloatArray) -> tuple[slice, slice] | None:
    """Rows and columns that a cuboid, (8, 3) corners in the camera's frame, may cover; None where it is out of view."""
    depth = cuboid[:, 2]
    if (depth <= 0).all():
        return None
    scaled = cuboid @ intrinsics.T  # pixels times depth: compared without division, right also where depth is negative
    scaled[:, :2] += 0.5 * depth[:, None]  # counted from the first pixel's corner
    for axis, size in ((0, WIDTH), (1, HEIGHT)):
        if (scaled[:, axis] < 0).all() or (scaled[:, axis] > size * depth).all():
            return None
    if (depth < 0.1).any():
        return slice(0, HEIGHT), slice(0, WIDTH)
    pixels = scaled[:, :2] / depth[:, None]
    low = np.maximum(np.floor(pixels.min(axis=0)), 0).astype(int)
    high = np.minimum(np.ceil(pixels.max(axis=0)), (WIDTH, HEIGHT)).astype(int)
    return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))


def _expose_actor(
    town: Town,
    index: int,
    window: tuple[slice, slice],
    time_s: float,
    origin: FloatArray,
    directions: Float32Array,
    film: _Film,
) -> None:
    pixels = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)[window].ravel()
    pose = town.actors[index].poses(np.array([time_s]))[0]
    world_SE3_actor = SE3.from_yaw(pose[3], pose[:3])
    turn = world_SE3_actor.rotation.astype(np.float32)
    start = (world_SE3_actor.inverse().transform(origin[None])[0]).astype(np.float32)
    local = directions[pixels] @ turn
    starts = np.broadcast_to(start, local.shape)
    hits: Hits = town.casters[index].cast(starts, local, _REACH_M)
    nearer = hits.distance < film.distance[pixels]
    chosen = pixels[nearer]
    film.distance[chosen] = hits.distance[nearer]
    film.colour[chosen] = _colours(town.casters[index].mesh, hits, starts, local)[nearer]
    film.normal[chosen] = hits.normal[nearer] @ turn.T
    film.actor[chosen] = index


def _develop(town: Town, film: _Film, directions: Float32Array) -> npt.NDArray[np.uint8]:
    """Lambert's shading by sun and sky, haze with distance, a sky that pales towards the horizon."""
    facing = np.where(np.einsum("ij,ij->i", film.normal, directions) > 0, np.float32(-1), np.float32(1))
    sunlight = np.clip(film.normal @ town.sun.astype(np.float32) * facing, 0, 1)
    skylight = 0.5 + 0.12 * film.normal[:, 2] * facing
    lit = film.colour * (skylight + 0.55 * sunlight)[:, None]
    clear = np.exp(-film.distance / np.float32(_HAZE_M))[:, None]
    sky = _SKY_LOW + np.clip(directions[:, 2:] * 2.5, 0, 1) * (_SKY_HIGH - _SKY_LOW)
    picture = np.where(np.isfinite(film.distance)[:, None], sky + clear * (lit - sky), sky)
    developed: npt.NDArray[np.uint8] = np.clip(picture, 0, 255).astype(np.uint8)
    return developed
