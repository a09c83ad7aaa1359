from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidarloop_core.model.spec import ModelSpec

torch = pytest.importorskip("torch")

from lidarloop_core.classes import NUSCENES_CLASSES  # noqa: E402
from lidarloop_core.errors import ConfigError  # noqa: E402
from lidarloop_core.geometry.boxes import Boxes3D  # noqa: E402
from lidarloop_training.models.heads.center import CenterHead, HeadOutput, arctan2, group_of_class  # noqa: E402
from lidarloop_training.recipes.pillar_toytown import CENTERPOINT_GROUPS  # noqa: E402
from lidarloop_training.tasks.detection.targets import center_targets  # noqa: E402

if TYPE_CHECKING:
    from lidarloop_core.model.spec import ModelSpec


STRIDE = 2


@pytest.fixture
def head(spec: ModelSpec) -> CenterHead:
    torch.manual_seed(0)
    return CenterHead(spec, 8, STRIDE, class_groups=CENTERPOINT_GROUPS, shared_channels=8, group_channels=8).eval()


@pytest.mark.parametrize("velocity_channels", [0, 4])
def test_velocities_have_convolutions_of_their_own_on_request(spec: ModelSpec, velocity_channels: int) -> None:
    torch.manual_seed(0)
    head = CenterHead(
        spec,
        8,
        STRIDE,
        class_groups=CENTERPOINT_GROUPS,
        shared_channels=8,
        group_channels=8,
        velocity_channels=velocity_channels,
    ).eval()
    features = torch.randn(2, 8, 6, 5, requires_grad=True)
    regression = head(features).regression
    assert regression.shape == (2, 10, len(CENTERPOINT_GROUPS), 6, 5)
    own = [name for name, _ in head.named_parameters() if name.startswith("velocities")]
    assert bool(own) == bool(velocity_channels)
    weights = dict(head.named_parameters())
    for column, group in ((8, 0), (9, 1), (0, 0)):
        head.zero_grad()
        regression[:, column, group].sum().backward(retain_graph=True)
        touched = {name for name in own if weights[name].grad is not None and weights[name].grad.abs().sum() > 0}
        expected = {name for name in own if name.startswith(f"velocities.{group}")} if column >= 8 else set()
        assert touched == expected, (column, group)
        assert bool(weights["hidden.0.0.weight"].grad.abs().sum() > 0) == (group == 0 and (column < 8 or not own))


def perfect_output(head: CenterHead, boxes: Boxes3D, spec: ModelSpec) -> HeadOutput:
    """The maps of a network that says exactly what the targets ask for."""
    targets = center_targets(boxes, spec, STRIDE)
    heatmap = torch.from_numpy(targets.heatmap).clamp(1e-4, 1 - 1e-4)
    rows, columns = heatmap.shape[1:]
    regression = torch.zeros(10, len(CENTERPOINT_GROUPS), rows * columns)
    for cell, label, values in zip(targets.cell, targets.label, targets.regression, strict=True):
        regression[:, head.group_of_class[label], cell] = torch.from_numpy(values)
    return HeadOutput(torch.logit(heatmap)[None], regression.view(1, 10, -1, rows, columns))


def test_decoding_inverts_the_targets(head: CenterHead, spec: ModelSpec) -> None:
    values = [
        [-9.9, -7.9, 0.3, 4.5, 1.9, 1.6, 3.0, 1.0, -2.0],
        [9.9, -7.9, -0.5, 0.7, 0.7, 1.8, -3.0, 0.0, 0.0],
        [0.1, 0.2, 0.0, 12.0, 2.6, 3.4, 1.5, 5.0, 5.0],
        [-4.0, 5.5, 0.0, 0.4, 0.4, 0.9, -0.2, 0.0, 0.0],
        [5.0, 5.0, 0.0, 1.8, 0.6, 1.4, 2.2, -3.0, 0.5],
    ]
    labels = [NUSCENES_CLASSES.index(n) for n in ("car", "pedestrian", "bus", "traffic_cone", "bicycle")]
    boxes = Boxes3D(np.array(values), np.ones(5), np.array(labels), NUSCENES_CLASSES)
    decoded = head.decode(perfect_output(head, boxes, spec))
    found = {int(label): box for label, box in zip(decoded.labels[:5], decoded.boxes[:5], strict=True)}
    for label, value in zip(labels, values, strict=True):
        np.testing.assert_allclose(found[label].numpy(), value, atol=1e-5)
    assert (decoded.scores[:5] > 0.99).all()


def test_shapes_and_order_of_the_outputs(head: CenterHead, spec: ModelSpec) -> None:
    decoded = head.decode(head(torch.randn(1, 8, 8, 10)))
    assert decoded.boxes.shape == (12, 9)
    assert decoded.labels.dtype == torch.int64
    assert (decoded.scores.diff() <= 0).all()
    assert ((decoded.labels >= 0) & (decoded.labels < 10)).all()


def test_only_local_maxima_are_detections(head: CenterHead) -> None:
    """The reference walks over the map."""
    torch.manual_seed(1)
    output = head(torch.randn(1, 8, 8, 10) * 5)
    logits = output.heatmap[0].detach()
    peaks = []
    for c, rows in enumerate(logits):
        for y in range(8):
            for x in range(10):
                if rows[y, x] == rows[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].max():
                    peaks.append((float(rows[y, x]), c))
    best = sorted(peaks, reverse=True)[:12]
    decoded = head.decode(output)
    assert [label for _, label in best] == decoded.labels.tolist()
    np.testing.assert_allclose(decoded.scores.detach(), [1 / (1 + math.exp(-logit)) for logit, _ in best], rtol=1e-5)


def test_fewer_peaks_than_detections_leaves_scores_of_zero(head: CenterHead) -> None:
    heatmap = torch.full((1, 10, 8, 10), -5.0)
    heatmap[0] += torch.arange(80).view(8, 10) * 1e-2  # rises everywhere: one peak per class
    decoded = head.decode(HeadOutput(heatmap, torch.zeros(1, 10, 6, 8, 10)))
    assert (decoded.scores[:10] > 0).all()
    assert (decoded.scores[10:] == 0).all()


def test_class_order_of_the_heatmap_is_the_specs(spec: ModelSpec) -> None:
    """Each group's own channels end up at its classes' places."""
    head = CenterHead(spec, 4, STRIDE, class_groups=CENTERPOINT_GROUPS, shared_channels=4, group_channels=4).eval()
    for group, layer in zip(CENTERPOINT_GROUPS, head.heatmaps, strict=True):
        layer.weight.data.zero_()
        layer.bias.data = torch.tensor([float(NUSCENES_CLASSES.index(name)) for name in group])
    heatmap = head(torch.randn(1, 4, 8, 10)).heatmap
    assert torch.equal(heatmap.amax(dim=(0, 2, 3)), torch.arange(10.0))


def test_initial_scores_are_a_tenth(head: CenterHead) -> None:
    head.heatmaps[0].weight.data.zero_()
    assert head(torch.randn(1, 8, 8, 10)).heatmap[0, 0].sigmoid().mean().item() == pytest.approx(0.1)


@pytest.mark.parametrize(
    "groups",
    [(("car",),), (NUSCENES_CLASSES, ("car",)), (("tram", *NUSCENES_CLASSES[1:]),)],
    ids=["few", "twice", "foreign"],
)
def test_groups_that_do_not_hold_each_class_once_are_refused(groups: tuple[Any, ...]) -> None:
    with pytest.raises(ConfigError, match="each of car, truck"):
        group_of_class(NUSCENES_CLASSES, groups)


@pytest.mark.parametrize("x", [-2.0, -1.0, -1e-30, 0.0, 1e-30, 1.0, 3.0])
@pytest.mark.parametrize("y", [-2.0, -1.0, -1e-30, 0.0, 1e-30, 1.0, 3.0])
def test_arctan2_in_all_quadrants_and_on_the_axes(x: float, y: float) -> None:
    assert arctan2(torch.tensor(y), torch.tensor(x)).item() == pytest.approx(math.atan2(y, x), abs=1e-6)


@settings(max_examples=200, deadline=None)
@given(st.floats(-1e3, 1e3, width=32), st.floats(-1e3, 1e3, width=32))
def test_arctan2_agrees_with_the_real_one(y: float, x: float) -> None:
    y, x = y + 0.0, x + 0.0  # -0.0 is not told from 0.0: π for -π, which is the same angle, and 0 at the origin
    found = arctan2(torch.tensor(y), torch.tensor(x)).item()
    expected = math.atan2(y, x)
    assert math.cos(found - expected) == pytest.approx(1)
    assert abs(math.sin(found - expected)) < 1e-6
