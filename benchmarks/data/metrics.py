"""The nuScenes detection metrics, ours and the devkit's, on the same boxes in one run: time and agreement.

    python -m benchmarks.data.metrics                               # 200 samples × 200 boxes
    python -m benchmarks.data.metrics --agreement 200 --json out/metrics.json

Measured is what comes after loading: the devkit's ``accumulate``, ``calc_ap`` and ``calc_tp`` on its box objects, as
``DetectionEval.evaluate`` calls them, and our ``evaluate_detections`` (its filters included). Compared are all numbers
that come out: mAP, NDS, the five errors of each class and of all, AP at each distance, and the curves themselves.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import tyro

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.io import atomic
from lidarloop_training.evaluation.metrics.matching import DetectionConfig, GroundTruth
from lidarloop_training.evaluation.metrics.nuscenes import TP_ERRORS, DetectionMetrics, evaluate_detections

Predictions = dict[str, Boxes3D]
Truths = dict[str, GroundTruth]

CONFIG = DetectionConfig()
DEVKIT_ERRORS = dict(zip(TP_ERRORS, ("trans_err", "scale_err", "orient_err", "vel_err", "attr_err"), strict=True))
UNDEFINED_ERRORS = {"traffic_cone": ("attr_err", "vel_err", "orient_err"), "barrier": ("attr_err", "vel_err")}


def main(
    num_samples: int = 200,
    num_boxes: int = 200,
    seed: int = 0,
    agreement: int = 0,
    json_path: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Prints both times, their ratio and the largest difference.

    Args:
        num_samples: frames of the timed case.
        num_boxes: detections in each of them.
        seed: random seed of the timed case.
        agreement: compare on so many random cases too.
        json_path: write the same figures there.
    """
    figures = measure_speed(num_samples, num_boxes, seed)
    print(f"{num_samples} samples × {num_boxes} boxes")
    print(f"  lidarloop         {figures['lidarloop_s']:8.3f} s   mAP {figures['lidarloop_mAP']:.6f}")
    print(f"  nuscenes-devkit   {figures['devkit_s']:8.3f} s   mAP {figures['devkit_mAP']:.6f}")
    print(f"  {figures['speed_ratio']:.0f} × faster, largest difference {figures['largest_difference']:.1e}")
    if agreement:
        figures |= {"agreement_cases": agreement, "agreement_largest_difference": largest_difference_of(agreement)}
        print(
            f"{agreement} random cases: largest difference of any number {figures['agreement_largest_difference']:.1e}"
        )
    if json_path is not None:
        atomic.write_bytes(json_path, (json.dumps(figures, indent=2) + "\n").encode())


def measure_speed(num_samples: int, num_boxes: int, seed: int) -> dict[str, Any]:
    """Times both on one large case."""
    predictions, truths = large_case(num_samples, num_boxes, seed)
    evaluate_detections(predictions, truths)  # compiles
    start = time.perf_counter()
    ours = evaluate_detections(predictions, truths)
    ours_s = time.perf_counter() - start
    theirs, curves, devkit_s = devkit_metrics(predictions, truths)
    return {
        "num_samples": num_samples,
        "num_boxes": num_boxes,
        "lidarloop_s": ours_s,
        "devkit_s": devkit_s,
        "speed_ratio": devkit_s / ours_s,
        "lidarloop_mAP": ours.mean_ap_all_classes,
        "devkit_mAP": theirs.mean_ap,
        "largest_difference": largest_difference(ours, theirs, curves),
    }


def largest_difference_of(num_cases: int) -> float:
    """The largest difference of any number over the random cases 0 … num_cases - 1."""
    return max(case_difference(seed) for seed in range(num_cases))


def case_difference(seed: int) -> float:
    """The largest difference of any number on one random case."""
    num_classes = 10 if seed % 3 else 4  # 4: some classes have no objects
    predictions, truths = random_case(np.random.default_rng(seed), num_classes=num_classes)
    # The devkit's two pure cases of attributes: no object has one, or all do and we predict none.
    theirs, curves, _ = devkit_metrics(predictions, truths, "vehicle.moving" if seed % 2 else "")
    return largest_difference(evaluate_detections(predictions, truths), theirs, curves)


# --- cases ------------------------------------------------------------------------------------------------------------


def large_case(num_samples: int, num_boxes: int, seed: int) -> tuple[Predictions, Truths]:
    """Ground truth of a quarter as many objects, found with noise, among inventions."""
    rng = np.random.default_rng(seed)
    predictions, truths = {}, {}
    num_objects = num_boxes // 4
    for sample in range(num_samples):
        values = np.column_stack(
            [
                rng.uniform(-20, 20, (num_boxes, 2)),  # within every class's range
                np.zeros(num_boxes),
                rng.uniform(0.5, 6, (num_boxes, 3)),
                rng.uniform(-3, 3, num_boxes),
                rng.normal(0, 3, (num_boxes, 2)),
            ]
        )
        labels = rng.integers(0, 10, num_boxes)
        truths[f"{sample}"] = _truth(values[:num_objects], labels[:num_objects], np.full(num_objects, 5))
        values[:, :2] += rng.normal(0, 0.5, (num_boxes, 2))
        predictions[f"{sample}"] = Boxes3D(_float32(values), _float32(rng.random(num_boxes)), labels, NUSCENES_CLASSES)
    return predictions, truths


def random_case(rng: np.random.Generator, num_frames: int = 6, num_classes: int = 10) -> tuple[Predictions, Truths]:
    """Noisy copies of random objects, misses, inventions, tied scores, NaN velocities, far and unhit objects."""
    predictions, truths = {}, {}
    for frame in range(num_frames):
        n = int(rng.integers(0, 25))
        values = np.column_stack(
            [
                rng.uniform(-60, 60, (n, 2)) * rng.choice([0.4, 1.0], (n, 1)),
                rng.normal(0, 1, n),
                rng.uniform(0.3, 8, (n, 3)),
                rng.uniform(-4, 4, n),
                rng.normal(0, 4, (n, 2)),
            ]
        )
        values[rng.random(n) < 0.1, 7:9] = np.nan
        labels = rng.integers(0, num_classes, n)
        truths[f"t{frame}"] = _truth(values, labels, rng.integers(0, 9, n), rng.uniform(-5, 5, 2))

        kept = rng.random(n) < 0.8
        noisy = values[kept] + rng.normal(0, 1, (kept.sum(), 9)) * rng.choice([0.1, 0.7, 2.0])
        noisy[:, 3:6] = values[kept][:, 3:6] * rng.uniform(0.7, 1.4, (kept.sum(), 3))
        found = np.where(rng.random(kept.sum()) < 0.9, labels[kept], rng.integers(0, 10, kept.sum()))
        m = int(rng.integers(0, 12))
        invented = np.column_stack(
            [rng.uniform(-50, 50, (m, 3)), rng.uniform(0.3, 8, (m, 3)), rng.uniform(-4, 4, m), np.zeros((m, 2))]
        )
        rows = np.concatenate([noisy, noisy[: m // 2], invented])  # some of them twice
        classes = np.concatenate([found, found[: m // 2], rng.integers(0, 10, m)])
        order = rng.permutation(len(rows))
        scores = rng.choice([0.0, 0.25, 0.5, 0.75], len(rows)) if rng.random() < 0.3 else rng.random(len(rows))
        predictions[f"t{frame}"] = Boxes3D(_float32(rows[order]), _float32(scores), classes[order], NUSCENES_CLASSES)
    return predictions, truths


def _truth(
    values: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
    num_lidar_pts: npt.NDArray[np.int64],
    ego_xy_m: npt.NDArray[np.float64] | None = None,
) -> GroundTruth:
    boxes = Boxes3D(_float32(values), np.ones(len(values), np.float32), labels, NUSCENES_CLASSES)
    unknown = np.full(len(boxes), np.nan, dtype=np.float32)
    return GroundTruth(boxes, num_lidar_pts, unknown, np.zeros(2) if ego_xy_m is None else ego_xy_m)


def _float32(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    return values.astype(np.float32)


# --- the devkit -------------------------------------------------------------------------------------------------------


def devkit_metrics(predictions: Predictions, truths: Truths, attribute: str = "") -> tuple[Any, Any, float]:
    """(``DetectionMetrics``, its curves by (class, distance), seconds) of the devkit on boxes that need no data set.

    Args:
        predictions, truths: as ``evaluate_detections`` takes them.
        attribute: what every object is annotated with; we predict none.
    """
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.detection.algo import accumulate, calc_ap, calc_tp
    from nuscenes.eval.detection.data_classes import DetectionMetrics as DevkitMetrics

    config = config_factory("detection_cvpr_2019")
    egos = {token: gt.ego_xy_m for token, gt in truths.items()}
    points = {token: gt.num_lidar_pts for token, gt in truths.items()}
    gt_boxes = _devkit_boxes({token: gt.boxes for token, gt in truths.items()}, egos, points, attribute)
    pred_boxes = _devkit_boxes(predictions, egos)
    metrics, curves = DevkitMetrics(config), {}
    start = time.perf_counter()
    for name in config.class_names:
        for distance in config.dist_ths:
            data = accumulate(gt_boxes, pred_boxes, name, config.dist_fcn_callable, distance)
            metrics.add_label_ap(name, distance, calc_ap(data, config.min_recall, config.min_precision))
            curves[name, distance] = data
        for error in DEVKIT_ERRORS.values():
            value = calc_tp(curves[name, config.dist_th_tp], config.min_recall, error)
            metrics.add_label_tp(name, error, float("nan") if error in UNDEFINED_ERRORS.get(name, ()) else value)
    return metrics, curves, time.perf_counter() - start


def _devkit_boxes(
    frames: Mapping[str, Boxes3D],
    egos: Mapping[str, npt.NDArray[np.float64]],
    points: Mapping[str, npt.NDArray[np.int64]] | None = None,
    attribute: str = "",
) -> Any:
    """The devkit's boxes, filtered by range and points as its ``filter_eval_boxes`` does, without its bicycle racks."""
    from nuscenes.eval.common.data_classes import EvalBoxes
    from nuscenes.eval.detection.data_classes import DetectionBox

    result = EvalBoxes()
    for token, frame in frames.items():
        converted = []
        for i, name in enumerate(frame.names):
            x, y, z, length, width, height, yaw, vx, vy = frame.values[i].astype(np.float64).tolist()
            box = DetectionBox(
                sample_token=token,
                translation=(x, y, z),
                size=(width, length, height),
                rotation=(math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)),
                velocity=(vx, vy),
                ego_translation=(x - egos[token][0], y - egos[token][1], 0.0),
                num_pts=-1 if points is None else int(points[token][i]),
                detection_name=name,
                detection_score=float(frame.scores[i]) if points is None else -1.0,
                attribute_name=attribute,
            )
            if box.ego_dist < CONFIG.class_range_m[name] and box.num_pts != 0:
                converted.append(box)
        result.add_boxes(token, converted)
    return result


def largest_difference(ours: DetectionMetrics, theirs: Any, curves: Any) -> float:
    """Over every number that both compute; infinite where only one of them is undefined."""
    pairs = [(ours.mean_ap_all_classes, theirs.mean_ap), (ours.nds_all_classes, theirs.nd_score)]
    pairs += [(ours.errors_all_classes[key], theirs.tp_errors[name]) for key, name in DEVKIT_ERRORS.items()]
    for c in ours.classes:
        for distance, ap in c.average_precision.items():
            pairs.append((ap, theirs.get_label_ap(c.name, distance)))
            pairs += zip(c.curves[distance].precision, curves[c.name, distance].precision, strict=True)
            pairs += zip(c.curves[distance].confidence, curves[c.name, distance].confidence, strict=True)
        pairs += [(c.devkit_errors[key], theirs.get_label_tp(c.name, name)) for key, name in DEVKIT_ERRORS.items()]
    mine, its = np.array(pairs, dtype=np.float64).T
    if (np.isnan(mine) != np.isnan(its)).any():
        return math.inf
    return float(np.nanmax(np.abs(mine - its)))


if __name__ == "__main__":
    tyro.cli(main)
