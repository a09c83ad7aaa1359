"""The town of one drive: roads, scenery, the ego's way through it, and the actors it meets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.sample import LaneMap
from lidarloop_training.toytown.casting import Caster
from lidarloop_training.toytown.population.actors import Actor
from lidarloop_training.toytown.population.lookalikes import LookalikePopulation
from lidarloop_training.toytown.population.placing import Placing
from lidarloop_training.toytown.population.plain import PlainPopulation
from lidarloop_training.toytown.solids.shapes import join
from lidarloop_training.toytown.streets.ground import Ground, build_ground, ground_mesh
from lidarloop_training.toytown.streets.motion import Motion, Parked, Path, Stop, Track
from lidarloop_training.toytown.streets.occupancy import Occupancy
from lidarloop_training.toytown.streets.point_classes import SIDEWALK
from lidarloop_training.toytown.streets.roads import RoadNetwork, Street, build_network
from lidarloop_training.toytown.streets.scenery import Thing, street_scenery
from lidarloop_training.toytown.style import TownStyle

FloatArray = npt.NDArray[np.float64]

_BLOCKS = 7
_SIGHT_M = 62.0
_EGO_SIZE_M = (4.6, 1.9)
_EGO_WHEELBASE_M = 2.8


_POPULATIONS: dict[TownStyle, type[Placing]] = {"plain": PlainPopulation, "lookalikes": LookalikePopulation}


@dataclass(frozen=True)
class Town:
    """All that a drive of one seed is rendered from. Times in seconds since the drive's first stamp.

    Attributes:
        ground: heights and covers.
        static: ray caster of ground and scenery, world frame.
        num_ground_faces: number of the first faces of ``static``, which take their look from the cover they carry.
        things: what stands along the streets and is no actor; the faces of ``static`` after the terrain's, in order.
        static_labels: (F,) uint8, what a point on each face of ``static`` is called, an index into ``POINT_CLASSES``;
            of the ground's faces the cover decides.
        actors: vehicles, persons and things, parked or moving.
        casters: ray caster of each actor, in the actor's own frame.
        ego: track of base_link (below the rear axle).
        lane_map: lanes around the route, world frame.
        sun: (3,) unit vector towards the sun.
    """

    ground: Ground
    static: Caster
    num_ground_faces: int
    things: tuple[Thing, ...]
    static_labels: npt.NDArray[np.uint8]
    actors: tuple[Actor, ...]
    casters: tuple[Caster, ...]
    ego: Track
    lane_map: LaneMap
    sun: FloatArray

    def ego_matrices(self, times_s: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Poses of base_link, pitching and rolling with the ground: (N, 3, 3) and (N, 3), world frame."""
        x, y, z, yaw = self.ego.poses(times_s).T
        slope = self.ground.gradient(np.column_stack([x, y]))
        heading = np.column_stack([np.cos(yaw), np.sin(yaw)])
        forward = np.column_stack([heading, np.einsum("ij,ij->i", slope, heading)])
        forward /= np.linalg.norm(forward, axis=1, keepdims=True)
        up = np.column_stack([-slope, np.ones(len(slope))])
        left = np.cross(up, forward)
        left /= np.linalg.norm(left, axis=1, keepdims=True)
        return np.stack([forward, left, np.cross(forward, left)], axis=2), np.column_stack([x, y, z])

    def world_SE3_ego(self, time_s: float) -> SE3:
        rotation, translation = self.ego_matrices(np.array([time_s]))
        return SE3(rotation[0], translation[0])


@lru_cache(maxsize=3)
def build_town(seed: int, duration_s: float, style: TownStyle = "plain") -> Town:
    """Builds the town of a seed: byte for byte the same wherever it is built. Its streets are those of every style."""
    rng = np.random.default_rng([seed, 0x70])
    network = build_network(rng, _BLOCKS)
    names = _ego_route(network, duration_s, rng)
    polyline = network.polyline(names)
    streets = _streets_near(network, polyline)
    junctions = {node for street in streets for node in (street.start, street.end)}
    ground = build_ground(network, streets, sorted(junctions), rng)
    start_s, end_s = -0.5, duration_s + 0.5
    ego = _ego_track(polyline, network, names, ground, (start_s, end_s), rng)
    occupancy = Occupancy(start_s, end_s)
    occupancy.add(replace(ego, share=0.5), _EGO_SIZE_M[0] + 1.6, _EGO_SIZE_M[1] + 0.3)

    things: list[Thing] = []
    for street in streets:
        beside, obstacles = street_scenery(street, ground, rng)
        things += beside
        for thing in obstacles:
            occupancy.add(Parked(np.array([thing.x, thing.y, 0, 0])), 2 * thing.radius, 2 * thing.radius)
    low, high = polyline.min(axis=0) - _SIGHT_M - 25, polyline.max(axis=0) + _SIGHT_M + 25
    terrain, num_ground_faces = ground_mesh(ground, streets, low, high)

    population = _POPULATIONS[style](network, ground, ego, occupancy, duration_s, rng)
    population.settle(streets, _streets_driven(streets, ego, duration_s))
    things += population.clutter
    scenery = [Thing(terrain, SIDEWALK), *things]  # beside the ground proper it holds the raised pavements
    return Town(
        ground,
        Caster(join([thing.mesh for thing in scenery])),
        num_ground_faces,
        tuple(things),
        np.repeat([thing.label for thing in scenery], [len(thing.mesh.faces) for thing in scenery]).astype(np.uint8),
        tuple(population.actors),
        tuple(Caster(actor.shape.mesh) for actor in population.actors),
        ego,
        _lane_map(network, ground, polyline),
        _sun(rng),
    )


def _ego_route(network: RoadNetwork, duration_s: float, rng: np.random.Generator) -> list[str]:
    """From a street in the middle of town, with at least one real turn."""
    centre = np.linalg.norm(network.junctions, axis=1).argsort()[:9]
    starts = sorted(name for name, lane in network.lanes.items() if lane.street >= 0 and lane.start in centre)
    names: list[str] = []
    for _ in range(40):
        names = network.route(str(rng.choice(starts)), 8.5 * (duration_s + 1) + 40, rng)
        driven = network.polyline(names)
        early = driven[np.cumsum(np.linalg.norm(np.diff(driven, axis=0, prepend=driven[:1]), axis=1)) < 95]
        step = np.diff(early, axis=0)
        heading = np.unwrap(np.arctan2(step[:, 1], step[:, 0]))
        if np.ptp(heading) > 1.0:
            break
    return names


def _ego_track(
    polyline: FloatArray,
    network: RoadNetwork,
    names: list[str],
    ground: Ground,
    span_s: tuple[float, float],
    rng: np.random.Generator,
) -> Track:
    """The ego's drive: along its route at town speed, in half of the drives with a halt at the first stop line."""
    path = Path.along(polyline, ground.base_height, rng.uniform(6.5, 8.5))
    start = rng.uniform(2, 12)
    first = float(np.linalg.norm(np.diff(network.lanes[names[0]].centerline, axis=0), axis=1).sum())
    halts = rng.random() < 0.5 and first - 9 > start + 2
    stops = (Stop(first - 9.0, rng.uniform(5, 9)),) if halts else ()
    return Track(path, Motion.planned(path, start, *span_s, stops), 0.0, _EGO_WHEELBASE_M, share=0.0)


def _streets_near(network: RoadNetwork, polyline: FloatArray) -> list[Street]:
    return [
        street
        for street in network.streets
        if np.linalg.norm(street.middle[:, None] - polyline[None, ::4], axis=2).min() < _SIGHT_M
    ]


def _sun(rng: np.random.Generator) -> FloatArray:
    azimuth, height = rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 1.1)
    return np.array([np.cos(azimuth) * np.cos(height), np.sin(azimuth) * np.cos(height), np.sin(height)])


def _streets_driven(streets: list[Street], ego: Track, duration_s: float) -> list[Street]:
    """Those the ego passes along, in the order of its way."""
    way = ego.poses(np.arange(0, duration_s, 0.5))[:, :2]
    first = [
        np.flatnonzero(np.linalg.norm(street.middle[:, None] - way, axis=2).min(axis=0) < street.half_width_m)
        for street in streets
    ]
    order = sorted((int(times[0]), index) for index, times in enumerate(first) if len(times))
    return [streets[index] for _, index in order]


def _lane_map(network: RoadNetwork, ground: Ground, polyline: FloatArray) -> LaneMap:
    lanes = [
        lane
        for lane in network.lanes.values()
        if np.linalg.norm(lane.centerline[:, None] - polyline[None, ::4], axis=2).min() < _SIGHT_M
    ]
    lines = tuple(np.column_stack([lane.centerline, ground.base_height(lane.centerline)]) for lane in lanes)
    streets = _streets_near(network, polyline)
    area = tuple(np.concatenate([s.at(s.arc, -s.half_width_m), s.at(s.arc, s.half_width_m)[::-1]]) for s in streets)
    area += tuple(_around(network.junction_outline(j)) for j in sorted({j for s in streets for j in (s.start, s.end)}))
    crossings = tuple(lane.street < 0 for lane in lanes)
    return LaneMap(lines, tuple(lane.lane_id for lane in lanes), area, crossings)


def _around(corners: FloatArray) -> FloatArray:
    """Corners in the order of a walk round their middle."""
    outwards = corners - corners.mean(axis=0)
    ordered: FloatArray = corners[np.argsort(np.arctan2(outwards[:, 1], outwards[:, 0]))]
    return ordered
