"""The Lovász extension by its definition, and the cases where both losses have a closed form."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip("torch")

from lidarloop_training.data.point_labels import UNLABELLED  # noqa: E402
from lidarloop_training.losses.segmentation import (  # noqa: E402
    SegmentationLossConfig,
    lovasz_softmax,
    segmentation_loss,
)

CONFIG = SegmentationLossConfig()


def jaccard_loss(is_wrong: npt.NDArray[np.bool_], is_class: npt.NDArray[np.bool_]) -> float:
    """1 − IoU of a class when these points are wrong: missed if they are of the class, invented if not."""
    return float(is_wrong.sum() / (is_class | is_wrong).sum())


def extension(errors: npt.NDArray[np.float64], is_class: npt.NDArray[np.bool_]) -> float:
    """The Lovász extension as an integral: ∫ loss({errors ≥ t}) dt from 0 to 1, constant between two errors."""
    steps = np.unique(np.concatenate([[0.0], errors]))
    return float(
        sum(
            (high - low) * jaccard_loss(errors >= high, is_class)
            for low, high in itertools.pairwise(steps)
        )
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(30))
def test_lovasz_softmax_equals_the_integral_over_thresholds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    num_points, num_classes = rng.integers(1, 9), rng.integers(2, 5)
    probabilities = rng.dirichlet(np.ones(num_classes), num_points)
    labels = rng.integers(0, num_classes, num_points)
    expected = [
        extension(np.abs((labels == present) - probabilities[:, present]), labels == present)
        for present in np.unique(labels)
    ]
    found = lovasz_softmax(torch.from_numpy(probabilities), torch.from_numpy(labels))
    assert float(found) == pytest.approx(np.mean(expected), abs=1e-12)


@pytest.mark.parametrize("labels", itertools.product(range(3), repeat=4))
def test_lovasz_softmax_at_hard_predictions_is_one_minus_the_mean_iou(labels: tuple[int, ...]) -> None:
    """At the corners of the unit cube the extension is the set function itself."""
    predicted = np.array([0, 1, 1, 2])
    truth = np.array(labels)
    iou = [((truth == c) & (predicted == c)).sum() / ((truth == c) | (predicted == c)).sum() for c in np.unique(truth)]
    found = lovasz_softmax(torch.eye(3, dtype=torch.float64)[predicted], torch.from_numpy(truth))
    assert float(found) == pytest.approx(1 - np.mean(iou), abs=1e-12)


def test_lovasz_softmax_has_the_gradient_of_finite_differences() -> None:
    torch.manual_seed(0)
    logits = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 2, 2, 0, 0, 2, 0])
    assert torch.autograd.gradcheck(lambda x: lovasz_softmax(x.softmax(dim=1), labels), logits)


def test_equal_logits_cost_the_logarithm_of_the_number_of_classes() -> None:
    loss = segmentation_loss(torch.zeros(6, 4), torch.arange(6) % 4, CONFIG)
    assert float(loss.cross_entropy) == pytest.approx(np.log(4), rel=1e-6)
    assert float(loss.total) == pytest.approx(float(loss.cross_entropy) + float(loss.lovasz), rel=1e-6)


def test_points_without_a_label_change_neither_loss_nor_gradient() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(10, 3), torch.randint(0, 3, (10,))
    more = torch.cat([logits, 1e3 * torch.randn(5, 3)]).requires_grad_()
    expected = segmentation_loss(logits, labels, CONFIG)
    found = segmentation_loss(more, torch.cat([labels, torch.full((5,), UNLABELLED)]), CONFIG)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    found.total.backward()
    assert more.grad is not None
    assert not more.grad[10:].any()


def test_a_batch_without_a_label_costs_nothing_and_can_be_learnt_from() -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    loss = segmentation_loss(logits, torch.full((4,), UNLABELLED), CONFIG)
    loss.total.backward()
    assert float(loss.total.detach()) == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_weights_scale_their_terms() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(10, 3), torch.randint(0, 3, (10,))
    loss = segmentation_loss(logits, labels, SegmentationLossConfig(cross_entropy_weight=2.0, lovasz_weight=0.5))
    torch.testing.assert_close(loss.total, 2 * loss.cross_entropy + 0.5 * loss.lovasz)
