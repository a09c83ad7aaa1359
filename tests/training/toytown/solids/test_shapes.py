from __future__ import annotations

import numpy as np
import pytest

from lidarloop_training.toytown.casting import Caster
from lidarloop_training.toytown.solids import actor_shapes
from lidarloop_training.toytown.solids.shapes import (
    METAL,
    RUBBER,
    Mesh,
    Pattern,
    Surface,
    box,
    cylinder,
    ellipsoid,
    frustum,
    join,
)

BUILDERS = (
    actor_shapes.car,
    actor_shapes.pickup,
    actor_shapes.box_truck,
    actor_shapes.tractor,
    actor_shapes.bus,
    actor_shapes.trailer,
    actor_shapes.excavator,
    actor_shapes.loader,
    actor_shapes.pedestrian,
    actor_shapes.ridden_bicycle,
    actor_shapes.parked_bicycle,
    actor_shapes.ridden_motorcycle,
    actor_shapes.parked_motorcycle,
    actor_shapes.traffic_cone,
    actor_shapes.barrier,
)


def signed_volume(mesh: Mesh) -> float:
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_solids_enclose_their_volume_with_faces_outwards(axis: str) -> None:
    assert signed_volume(box((3, 2, 1), (2, 3, 4), METAL)) == pytest.approx(24)
    prism = 100 / 2 * np.sin(2 * np.pi / 100)  # area of the unit circle's inscribed polygon
    assert signed_volume(cylinder((1, 1, 1), 1.0, 3.0, METAL, axis=axis, sections=100)) == pytest.approx(3 * prism)
    ball = signed_volume(ellipsoid((0, 0, 5), (2, 4, 6), METAL, rings=40, sections=80))
    assert ball == pytest.approx(4 / 3 * np.pi * 1 * 2 * 3, rel=5e-3)
    pyramid = frustum((0, 0, 0), (2, 2, 3), (1e-9, 1e-9), METAL, top_shift=0.7)
    assert signed_volume(pyramid) == pytest.approx(4)


@pytest.mark.parametrize("build", BUILDERS, ids=lambda b: b.__name__)
def test_a_shape_fills_its_cuboid_exactly(build: actor_shapes.Builder) -> None:
    shape = build(np.random.default_rng(3))
    np.testing.assert_allclose(shape.mesh.vertices.max(axis=0), shape.size / 2, atol=1e-9)
    np.testing.assert_allclose(shape.mesh.vertices.min(axis=0), -shape.size / 2, atol=1e-9)
    other = build(np.random.default_rng(4))
    assert not np.array_equal(shape.size, other.size), "sizes vary from instance to instance"


def test_front_and_back_of_a_truck_differ() -> None:
    mesh = actor_shapes.tractor(np.random.default_rng(0)).mesh
    high = mesh.vertices[:, 2] > 0.2
    assert mesh.vertices[high, 0].min() > 0.0, "the cab stands ahead, the frame behind is low"


def test_joined_meshes_keep_their_faces_looks() -> None:
    both = join([box((0, 0, 0), (1, 1, 1), METAL), box((5, 0, 0), (1, 1, 1), RUBBER)])
    hits = Caster(both).cast(np.array([[0, 0, 9], [5, 0, 9]], np.float32), np.array([[0, 0, -1]] * 2, np.float32), 20)
    np.testing.assert_allclose(hits.distance, 8.5, atol=1e-5)
    np.testing.assert_allclose(hits.normal, [[0, 0, 1]] * 2, atol=1e-6)
    np.testing.assert_allclose(both.reflectivity[hits.face], [METAL.reflectivity, RUBBER.reflectivity])


def test_a_caster_sees_nothing_beyond_its_reach() -> None:
    caster = Caster(box((0, 0, 0), (1, 1, 1), METAL))
    hits = caster.cast(np.array([[0, 0, 9]], np.float32), np.array([[0, 0, -1]], np.float32), 8.0)
    assert hits.face[0] == -1
    assert np.isinf(hits.distance[0])
    assert len(caster.cast(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32), 1.0).face) == 0


def test_many_casters_may_live_at_once() -> None:
    """Each Embree device takes a thread-local key of the process: about a thousand crash it."""
    mesh = box((0, 0, 0), (1, 1, 1), METAL)
    casters = [Caster(mesh) for _ in range(1500)]
    assert casters[-1].cast(np.array([[0, 0, 9]], np.float32), np.array([[0, 0, -1]], np.float32), 20).face[0] >= 0


WHITE, RED = (255, 255, 255), (255, 0, 0)


def colours_on(mesh: Mesh, points: list[tuple[float, float, float]]) -> list[tuple[int, ...]]:
    """Colours of points as seen on the first face."""
    shown = mesh.pattern_at(np.zeros(len(points), np.int32), np.array(points, np.float32))
    return [tuple(colour) for colour in shown.tolist()]


def test_stripes_alternate_every_half_wavelength() -> None:
    striped = box((0, 0, 0), (4, 1, 1), Surface(WHITE, 0.5, pattern=Pattern.stripes(RED, (0.5, 0.0, 0.0))))
    at = [(x, 0.3, 0.2) for x in (0.1, 0.9, 1.1, 1.9, 2.1, -0.1, -1.1)]
    assert colours_on(striped, at) == [WHITE, WHITE, RED, RED, WHITE, RED, WHITE]
    assert striped.patterned.all()


def test_two_waves_make_checks() -> None:
    checks = Pattern(RED, ((0.5, 0.0, 0.0), (0.0, 0.5, 0.0)))
    mesh = box((0, 0, 0), (4, 4, 1), Surface(WHITE, 0.5, pattern=checks))
    corners = [(0.5, 0.5, 0), (1.5, 0.5, 0), (0.5, 1.5, 0), (1.5, 1.5, 0)]
    assert colours_on(mesh, corners) == [WHITE, RED, RED, WHITE]


def test_patterns_turn_and_stretch_with_their_mesh() -> None:
    striped = box((0, 0, 0), (4, 4, 4), Surface(WHITE, 0.5, pattern=Pattern.stripes(RED, (0.5, 0.0, 0.0))))
    along_y = [(0.3, y, 0.1) for y in (0.1, 0.9, 1.1, 1.9)]
    assert colours_on(striped.moved((0, 0, 0), np.pi / 2), along_y) == [WHITE, WHITE, RED, RED]
    assert colours_on(striped.tilted(np.pi / 2, (0, 0, 0)), [(0.3, 0.1, z) for z in (0.1, 1.1)]) == [WHITE, RED]
    assert colours_on(striped.fitted((8, 4, 4)), [(x, 0.1, 0.1) for x in (1.9, 2.1)]) == [WHITE, RED]
    both = join([box((0, 0, 0), (1, 1, 1), METAL), striped])
    assert both.patterned.tolist() == [False] * 12 + [True] * 12


def test_faces_without_a_pattern_have_one_colour() -> None:
    plain = box((0, 0, 0), (4, 1, 1), METAL)
    assert not plain.patterned.any()
    assert set(colours_on(plain, [(x, 0.3, 0.2) for x in np.linspace(-2, 2, 9).tolist()])) == {METAL.colour}
