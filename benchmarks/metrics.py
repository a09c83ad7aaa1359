"""Time of the nuScenes detection metrics, ours and the devkit's, on the same boxes in one run.

    python benchmarks/metrics.py            # 200 samples × 200 boxes

Measured is what comes after loading: the devkit's ``accumulate``, ``calc_ap`` and ``calc_tp`` on its box objects, as
``DetectionEval.evaluate`` calls them, and our ``evaluate_detections`` (its filters included).
"""

from __future__ import annotations

import time

import numpy as np
import tyro

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_training.evaluation.matching import GroundTruth
from lidarloop_training.evaluation.nuscenes_metrics import evaluate_detections


def frames(num_samples: int, num_boxes: int, seed: int) -> tuple[dict[str, Boxes3D], dict[str, GroundTruth]]:
    """Ground truth of a quarter as many objects, found with noise, among inventions."""
    rng = np.random.default_rng(seed)
    predictions, truths = {}, {}
    num_objects = num_boxes // 4
    for sample in range(num_samples):
        values = np.column_stack(
            [
                rng.uniform(-20, 20, (num_boxes, 2)),
                np.zeros(num_boxes),
                rng.uniform(0.5, 6, (num_boxes, 3)),
                rng.uniform(-3, 3, num_boxes),
                rng.normal(0, 3, (num_boxes, 2)),
            ]
        )
        labels = rng.integers(0, 10, num_boxes)
        objects = Boxes3D(values[:num_objects], np.ones(num_objects), labels[:num_objects], NUSCENES_CLASSES)
        values[:, :2] += rng.normal(0, 0.5, (num_boxes, 2))
        predictions[f"{sample}"] = Boxes3D(values, rng.random(num_boxes), labels, NUSCENES_CLASSES)
        truths[f"{sample}"] = GroundTruth(
            objects, np.full(num_objects, 5), np.full(num_objects, np.nan, dtype=np.float32)
        )
    return predictions, truths


def devkit(predictions: dict[str, Boxes3D], truths: dict[str, GroundTruth]) -> tuple[float, float]:
    """(seconds, mAP) of the devkit."""
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.common.data_classes import EvalBoxes
    from nuscenes.eval.detection.algo import accumulate, calc_ap, calc_tp
    from nuscenes.eval.detection.data_classes import DetectionBox
    from pyquaternion import Quaternion

    def convert(frames: dict[str, Boxes3D]) -> EvalBoxes:
        result = EvalBoxes()
        for token, boxes in frames.items():
            rows = zip(
                boxes.values.astype(float).tolist(), boxes.names, boxes.scores.astype(float).tolist(), strict=True
            )
            result.add_boxes(
                token,
                [
                    DetectionBox(
                        sample_token=token,
                        translation=tuple(v[:3]),
                        size=(v[4], v[3], v[5]),
                        rotation=tuple(Quaternion(axis=[0, 0, 1], radians=v[6])),
                        velocity=tuple(v[7:9]),
                        detection_name=name,
                        detection_score=score,
                    )
                    for v, name, score in rows
                ],
            )
        return result

    gt_boxes, pred_boxes = convert({t: g.boxes for t, g in truths.items()}), convert(predictions)
    config = config_factory("detection_cvpr_2019")
    start = time.perf_counter()
    aps = []
    for name in config.class_names:
        for distance in config.dist_ths:
            data = accumulate(gt_boxes, pred_boxes, name, config.dist_fcn_callable, distance)
            aps.append(calc_ap(data, config.min_recall, config.min_precision))
            if distance == config.dist_th_tp:
                for error in ("trans_err", "scale_err", "orient_err", "vel_err", "attr_err"):
                    calc_tp(data, config.min_recall, error)
    return time.perf_counter() - start, float(np.mean(aps))


def main(num_samples: int = 200, num_boxes: int = 200, seed: int = 0) -> None:
    """Prints both times, their ratio and the difference in mAP."""
    predictions, truths = frames(num_samples, num_boxes, seed)
    start = time.perf_counter()
    evaluate_detections(predictions, truths)
    first_s = time.perf_counter() - start
    start = time.perf_counter()
    metrics = evaluate_detections(predictions, truths)
    ours_s = time.perf_counter() - start
    devkit_s, devkit_map = devkit(predictions, truths)
    # All boxes lie within every class range, so the filter by range takes none away.
    print(f"{num_samples} samples × {num_boxes} boxes")
    print(f"  lidarloop         {ours_s:8.3f} s   mAP {metrics.mean_ap_all_classes:.6f}   (first call {first_s:.3f} s)")
    print(f"  nuscenes-devkit   {devkit_s:8.3f} s   mAP {devkit_map:.6f}")
    print(f"  {devkit_s / ours_s:.0f} × faster, mAP differs by {abs(devkit_map - metrics.mean_ap_all_classes):.1e}")


if __name__ == "__main__":
    tyro.cli(main)
