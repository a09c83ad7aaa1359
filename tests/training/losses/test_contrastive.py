"""InfoNCE and balanced negatives against their formulas."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from lidarloop_core.errors import ConfigError  # noqa: E402
from lidarloop_training.losses.contrastive import (  # noqa: E402
    Contrast,
    ContrastiveConfig,
    balanced_negatives,
    contrast,
    info_nce,
    mean_contrast,
)


def at_angles(*degrees: float) -> Tensor:
    """Features in the plane whose cosine similarities are those of their angles."""
    angle = torch.tensor(degrees).deg2rad()
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def others(number: int) -> Tensor:
    return ~torch.eye(number, dtype=torch.bool)


def test_the_negatives_are_strictly_less_similar_than_the_lth_least_similar() -> None:
    features = at_angles(0, 10, 50, 170)
    # Of the first unit the similarities fall from unit 1 to unit 3; L = 2 is that of unit 2, which is left out.
    assert balanced_negatives(features, 2).int().tolist() == [[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1], [1, 0, 0, 0]]
    assert balanced_negatives(features, 3).int().tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [1, 0, 0, 1], [1, 1, 0, 0]]
    assert not balanced_negatives(features, 1).any()


def test_units_as_similar_as_the_lth_are_left_out_together() -> None:
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0], [-1.0, 0.0]])
    # From the first unit: units 1 and 2 are tied at 0, unit 3 at −1.
    assert balanced_negatives(features, 2)[0].tolist() == [False, False, False, True]
    assert balanced_negatives(features, 3)[0].tolist() == [False, False, False, True]


def test_length_does_not_count_for_similarity() -> None:
    features = at_angles(0, 10, 50, 170)
    scaled = features * torch.tensor([1.0, 7.0, 0.1, 3.0])[:, None]
    assert torch.equal(balanced_negatives(features, 3), balanced_negatives(scaled, 3))


@pytest.mark.parametrize("num_negatives", [0, 4, 100])
def test_no_limit_takes_all_other_units(num_negatives: int) -> None:
    assert torch.equal(balanced_negatives(at_angles(0, 10, 50, 170), num_negatives), others(4))


def test_info_nce_is_its_formula() -> None:
    products = torch.tensor([[2.0, 1.0, 0.0], [0.5, 1.5, -1.0], [3.0, 0.0, 0.0]])
    negatives = torch.tensor([[False, True, True], [True, False, False], [False, False, False]])
    expected = [
        -math.log(math.exp(2) / (math.exp(1) + math.exp(0) + math.exp(2))),
        -math.log(math.exp(1.5) / (math.exp(0.5) + math.exp(1.5))),
        0.0,
    ]
    torch.testing.assert_close(info_nce(products, negatives), torch.tensor(expected))


def test_the_objective_is_half_from_each_side() -> None:
    first, second = torch.tensor([[1.0, 2.0], [0.0, 1.0]]), torch.tensor([[0.5, 0.0], [1.0, 1.0]])
    config = ContrastiveConfig(temperature=0.5, normalise=False)
    found = contrast(first, second, others(2), config)
    products = [[1.0, 6.0], [0.0, 2.0]]  # inner products over τ
    there = [math.log(math.exp(1) + math.exp(6)) - 1, math.log(math.exp(0) + math.exp(2)) - 2]
    back = [math.log(math.exp(1) + math.exp(0)) - 1, math.log(math.exp(6) + math.exp(2)) - 2]
    assert products[0][0] == pytest.approx(float(first[0] @ second[0]) / 0.5)
    assert float(found.loss) == pytest.approx((sum(there) + sum(back)) / 4, rel=1e-6)
    assert float(found.accuracy) == pytest.approx(2 / 4)  # the second unit there, the first one back
    cosines = [0.5 / (math.sqrt(5) * 0.5), 1 / math.sqrt(2)]
    assert float(found.alignment) == pytest.approx(sum(cosines) / 2, rel=1e-6)


def test_normalised_features_are_compared_by_their_angle() -> None:
    first, second = at_angles(0, 60, 120), at_angles(30, 90, 200)
    config = ContrastiveConfig(temperature=0.1)
    plain = contrast(first, second, others(3), ContrastiveConfig(temperature=0.1, normalise=False))
    scaled = contrast(5 * first, 0.3 * second, others(3), config)
    torch.testing.assert_close(scaled.loss, plain.loss)


def test_equal_features_cost_the_logarithm_of_the_negatives_and_one() -> None:
    features = torch.ones(7, 3)
    found = contrast(features, features, others(7), ContrastiveConfig())
    assert float(found.loss) == pytest.approx(math.log(7), rel=1e-6)
    assert float(found.accuracy) == 0.0  # as near as the negatives is not nearer
    assert float(found.alignment) == pytest.approx(1.0)


def test_clouds_count_alike() -> None:
    clouds = [Contrast(*(torch.tensor(value) for value in values)) for values in ((1.0, 0.5, 0.0), (3.0, 1.0, 0.5))]
    assert [float(value) for value in mean_contrast(clouds)] == [2.0, 0.75, 0.25]


def test_accuracy_and_alignment_have_no_gradient() -> None:
    first = at_angles(0, 60, 120).requires_grad_()
    found = contrast(first, at_angles(30, 90, 200), others(3), ContrastiveConfig())
    assert found.loss.requires_grad
    assert not found.accuracy.requires_grad
    assert not found.alignment.requires_grad


def test_a_temperature_of_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match="temperature"):
        ContrastiveConfig(temperature=0.0)
