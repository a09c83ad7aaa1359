"""Overlap of convex polygons without rounding: an oracle that is right where edges coincide and corners touch.

The corners are floats, so they are rational numbers. The common part of two convex polygons is the convex hull of the
corners of each that lie in the other and of the points where their edges cross. In rational arithmetic each of these is
exact, and so is the area. (GEOS, with floats, finds no common part of two equal squares, one of them turned by 180°.)
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

Point = tuple[Fraction | int, Fraction | int]  # whole numbers where they are: they are ten times faster


def polygon_overlaps(
    a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Common area and intersection over union of each pair.

    Args:
        a: (N, K, 2) corners, counter-clockwise.
        b: (M, L, 2) corners, counter-clockwise.

    Returns:
        Two of (N, M): the areas, and the shares, 0 where both have no area.
    """
    unit = max((Fraction(value).denominator for value in (*a.flat, *b.flat)), default=1)
    first, second = ([_in_units(corners, unit) for corners in polygons] for polygons in (a, b))
    common, shares = np.zeros((2, len(first), len(second)))
    for (i, one), (j, other) in itertools.product(enumerate(first), enumerate(second)):
        shared = common_area(one, other)
        union = area(one) + area(other) - shared
        common[i, j] = shared / unit**2
        shares[i, j] = shared / union if union else 0
    return common, shares


def common_area(a: Sequence[Point], b: Sequence[Point]) -> Fraction:
    """Area of the common part of two convex polygons, whose corners run counter-clockwise."""
    corners = [p for p in a if _is_inside(p, b)] + [p for p in b if _is_inside(p, a)]
    crossings = (_crossing(e, f) for e, f in itertools.product(_edges(a), _edges(b)))
    return area(_hull([*corners, *(p for p in crossings if p is not None)]))


def area(polygon: Sequence[Point]) -> Fraction:
    """Area by the shoelace formula, counter-clockwise positive."""
    return Fraction(sum(p[0] * q[1] - q[0] * p[1] for p, q in _edges(polygon))) / 2


def _in_units(corners: npt.NDArray[np.floating], unit: int) -> list[Point]:
    """The corners as whole multiples of 1 / ``unit``."""
    return [(int(Fraction(x) * unit), int(Fraction(y) * unit)) for x, y in corners.tolist()]


def _edges(polygon: Sequence[Point]) -> Iterable[tuple[Point, Point]]:
    return zip(polygon, [*polygon[1:], *polygon[:1]], strict=True)


def _turn(o: Point, p: Point, q: Point) -> Fraction | int:
    """Twice the area of the triangle: positive if q lies left of the way from o to p."""
    return (p[0] - o[0]) * (q[1] - o[1]) - (p[1] - o[1]) * (q[0] - o[0])


def _is_inside(point: Point, polygon: Sequence[Point]) -> bool:
    return all(_turn(p, q, point) >= 0 for p, q in _edges(polygon))


def _crossing(first: tuple[Point, Point], second: tuple[Point, Point]) -> Point | None:
    """Where two edges cross; None where they do not or are parallel (then corners tell their common part)."""
    (p, q), (r, s) = first, second
    from_p, from_q = _turn(r, s, p), _turn(r, s, q)
    if from_p == from_q or from_p * from_q > 0 or _turn(p, q, r) * _turn(p, q, s) > 0:
        return None
    t = Fraction(from_p, from_p - from_q)
    return p[0] + t * (q[0] - p[0]), p[1] + t * (q[1] - p[1])


def _hull(points: Iterable[Point]) -> list[Point]:
    """Convex hull, counter-clockwise, by Andrew's monotone chain."""
    ordered = sorted(set(points))
    return [*_chain(ordered)[:-1], *_chain(ordered[::-1])[:-1]]


def _chain(points: Iterable[Point]) -> list[Point]:
    chain: list[Point] = []
    for point in points:
        while len(chain) > 1 and _turn(chain[-2], chain[-1], point) <= 0:
            chain.pop()
        chain.append(point)
    return chain
