"""Occupancies and tables: numba against numpy, and both against what a convolution means."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidarloop_core.errors import ConfigError
from lidarloop_core.sparse.occupancy import (
    SUBMANIFOLD,
    GridShape,
    Occupancy,
    Window,
    occupancy_of_positions,
    strided_occupancy,
    strided_positions_reference,
    thinned_reference,
)
from lidarloop_core.sparse.tables import (
    LevelPlan,
    build_tables,
    dense_table,
    inverse_table,
    inverse_table_reference,
    neighbour_table,
    neighbour_table_reference,
)

ALL = 10**6
Place = tuple[int, int, int]


def occupied(shape: GridShape, density: float, seed: int, max_voxels: int = ALL) -> Occupancy:
    """Random voxels, corners among them now and then."""
    flags = np.random.default_rng(seed).random(shape.num_cells * shape.layers) < density
    return occupancy_of_positions(shape, np.flatnonzero(flags).astype(np.int32), max_voxels)


def brute_force(source: Occupancy, target: Occupancy, window: Window) -> np.ndarray:
    """The definition, by a dictionary of places."""
    row_of: dict[Place, int] = {tuple(place): row for row, place in enumerate(source.coordinates().tolist())}
    table = np.zeros((target.num_voxels, window.num_places), np.int32)
    places = [(kx, ky, kz) for kz, ky, kx in itertools.product(*map(range, window.kernel[::-1]))]
    for out, place in enumerate(target.coordinates().tolist()):
        for k, offset in enumerate(places):
            x, y, z = (
                p * s - pad + d for p, s, pad, d in zip(place, window.stride, window.padding, offset, strict=True)
            )
            table[out, k] = row_of.get((x, y, z), -1) + 1
    return table


triples = st.tuples(*[st.integers(1, 3)] * 3)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    kernel = draw(st.tuples(*[st.integers(1, 4)] * 3))
    padding = tuple(draw(st.integers(0, k - 1)) for k in kernel)
    return Window(kernel, draw(triples), (padding[0], padding[1], padding[2]))


shapes = st.builds(GridShape, st.integers(1, 7), st.integers(1, 6), st.sampled_from([1, 2, 5, 9, 63, 64]))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(shapes, windows(), st.floats(0.0, 1.0), st.integers(0, 99), st.integers(1, 400))
def test_numba_equals_numpy_and_the_definition(
    shape: GridShape, window: Window, density: float, seed: int, max_voxels: int
) -> None:
    """All strides, paddings and borders, columns that fill their word, and levels above their capacity."""
    if any(n + 2 * p < k for n, p, k in zip(shape, window.padding, window.kernel, strict=True)):
        with pytest.raises(ConfigError, match="at least as large as the kernel"):
            window.output_shape(shape)
        return
    finer = occupied(shape, density**3, seed, 300)  # often sparse
    if window.output_shape(shape).layers > 64:
        with pytest.raises(ConfigError, match="at most 64 layers"):
            strided_occupancy(finer, window, max_voxels)
        return
    coarser = strided_occupancy(finer, window, max_voxels)
    found = strided_positions_reference(shape, finer.position, window)
    np.testing.assert_array_equal(coarser.position, thinned_reference(found, max_voxels)[0])
    assert coarser.num_found == len(found)
    table = neighbour_table(finer, coarser, window)
    np.testing.assert_array_equal(table, neighbour_table_reference(finer, coarser, window))
    np.testing.assert_array_equal(table, brute_force(finer, coarser, window))
    np.testing.assert_array_equal(
        inverse_table(finer, coarser, window), inverse_table_reference(finer, coarser, window)
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(shapes, st.floats(0.0, 1.0), st.integers(0, 99))
def test_submanifold_tables_are_the_definition_and_their_own_inverse(
    shape: GridShape, density: float, seed: int
) -> None:
    voxels = occupied(shape, density**2, seed, 500)
    table = neighbour_table(voxels, voxels, SUBMANIFOLD)
    np.testing.assert_array_equal(table, brute_force(voxels, voxels, SUBMANIFOLD))
    np.testing.assert_array_equal(table[:, 13], np.arange(1, voxels.num_voxels + 1))
    # A neighbour at one place finds this voxel at the opposite place.
    np.testing.assert_array_equal(inverse_table(voxels, voxels, SUBMANIFOLD), table[:, ::-1])


def test_every_output_of_a_strided_convolution_has_an_input_and_every_input_an_output() -> None:
    finer = occupied(GridShape(16, 12, 8), 0.05, 1)
    coarser = strided_occupancy(finer, Window(), ALL)
    assert coarser.shape == (8, 6, 4)
    assert (neighbour_table(finer, coarser, Window()) > 0).any(axis=1).all()
    assert (inverse_table(finer, coarser, Window()) > 0).any(axis=1).all()


def test_rows_are_in_order_of_cells_and_upwards_in_each() -> None:
    shape = GridShape(columns=3, rows=2, layers=4)
    position = np.array([(1 * 3 + 0) * 4 + 2, (0 * 3 + 2) * 4 + 3, (0 * 3 + 2) * 4 + 1, (0 * 3 + 2) * 4 + 1], np.int32)
    voxels = occupancy_of_positions(shape, position, ALL)
    assert voxels.coordinates().tolist() == [[2, 0, 1], [2, 0, 3], [0, 1, 2]]
    assert voxels.num_found == 3


def test_too_many_voxels_are_thinned_evenly_whatever_their_order() -> None:
    shape = GridShape(10, 10, 10)
    every = np.arange(1000, dtype=np.int32)
    voxels = occupancy_of_positions(shape, np.random.default_rng(0).permutation(every), 250)
    assert (voxels.num_found, voxels.num_voxels, voxels.num_thinned) == (1000, 250, 750)
    np.testing.assert_array_equal(voxels.position, every[3::4])
    # The words hold what is left: tables know nothing of what was thinned.
    assert neighbour_table(voxels, voxels, SUBMANIFOLD).max() == 250


def test_a_dense_table_finds_each_voxel_at_its_place() -> None:
    voxels = occupied(GridShape(5, 4, 3), 0.3, 2)
    dense = dense_table(voxels).reshape(4, 5, 3)
    x, y, z = voxels.coordinates().T
    np.testing.assert_array_equal(dense[y, x, z], np.arange(1, voxels.num_voxels + 1))
    assert np.count_nonzero(dense) == voxels.num_voxels


def test_a_network_has_the_tables_that_its_plan_asks_for() -> None:
    first = occupied(GridShape(16, 16, 8), 0.05, 3)
    fold = Window((1, 1, 4), (1, 1, 1), (0, 0, 0))
    plan = (LevelPlan(ALL), LevelPlan(ALL, Window(), has_inverse=True), LevelPlan(5, fold, has_submanifold=False))
    fine, middle, last = build_tables(first, plan)
    assert (fine.down, fine.up, last.submanifold, last.up) == (None, None, None, None)
    assert fine.submanifold is not None
    assert middle.down is not None
    assert middle.up is not None
    assert last.down is not None
    np.testing.assert_array_equal(fine.submanifold, neighbour_table(first, first, SUBMANIFOLD))
    np.testing.assert_array_equal(middle.down, neighbour_table(first, middle.voxels, Window()))
    np.testing.assert_array_equal(middle.up, inverse_table(first, middle.voxels, Window()))
    np.testing.assert_array_equal(last.down, neighbour_table(middle.voxels, last.voxels, fold))
    assert last.voxels.shape == (8, 8, 1)
    assert last.voxels.num_voxels == 5
    assert last.voxels.num_thinned > 0


def test_no_voxels_are_empty_tables() -> None:
    first = occupancy_of_positions(GridShape(8, 8, 8), np.zeros(0, np.int32), ALL)
    fine, coarse = build_tables(first, (LevelPlan(ALL), LevelPlan(ALL, Window(), has_inverse=True)))
    assert fine.submanifold is not None
    assert coarse.down is not None
    assert coarse.up is not None
    assert fine.submanifold.shape == coarse.down.shape == coarse.up.shape == (0, 27)
    assert not dense_table(coarse.voxels).any()


@pytest.mark.parametrize(
    "wrong", [Window((0, 1, 1)), Window(stride=(0, 1, 1)), Window(padding=(-1, 0, 0)), Window(padding=(3, 0, 0))]
)
def test_impossible_windows_are_refused(wrong: Window) -> None:
    with pytest.raises(ConfigError, match="expected kernel and stride of at least 1"):
        wrong.output_shape(GridShape(8, 8, 8))


@pytest.mark.parametrize("shape", [GridShape(40_000, 40_000, 40), GridShape(8, 8, 65), GridShape(8, 0, 8)])
def test_a_grid_of_too_many_voxels_is_refused(shape: GridShape) -> None:
    with pytest.raises(ConfigError, match=r"at most 64 layers, and fewer than 2\^31"):
        occupancy_of_positions(shape, np.zeros(0, np.int32), 1)
