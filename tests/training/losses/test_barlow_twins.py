from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from lidarloop_training.losses.barlow_twins import barlow_twins, cross_correlation  # noqa: E402


def test_uncorrelated_equal_features_cost_nothing() -> None:
    features = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    loss = barlow_twins(features, 3 * features + 2, 0.1)
    assert float(loss.total) == pytest.approx(0.0, abs=1e-4)


def test_two_equal_features_cost_their_redundancy() -> None:
    feature = torch.tensor([[1.0], [-1.0], [2.0], [-2.0]])
    features = feature.repeat(1, 2)
    loss = barlow_twins(features, features, 0.25)
    assert float(loss.redundancy) == pytest.approx(2.0, rel=1e-4)
    assert float(loss.total) == pytest.approx(0.5, rel=1e-3)


def test_unrelated_views_cost_one_for_each_feature() -> None:
    first = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    second = (first[:, :1] * first[:, 1:]).repeat(1, 2)
    loss = barlow_twins(first, second, 1.0)
    assert float(loss.invariance) == pytest.approx(2.0, rel=1e-4)


def test_the_correlation_is_numpys() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(50, 3), torch.randn(50, 2)
    expected = torch.corrcoef(torch.cat([first, second], dim=1).T)[:3, 3:]
    torch.testing.assert_close(cross_correlation(first, second), expected, atol=1e-4, rtol=1e-4)
