"""Class-balanced sampling: samples with rare classes are shown more often.

Source: Zhu et al., "Class-balanced grouping and sampling for point cloud 3D object detection" (2019), section 3.1. Each
class gives as many samples to an epoch as any other: those that hold it, repeated or thinned to an equal share.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import DatasetError
from lidarloop_core.sample import SampleSource
from lidarloop_training.data.views.subset import SubsetSource


def balanced_indices(
    labels: Sequence[npt.NDArray[np.int64]], num_classes: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Which samples an epoch shows, some of them several times.

    A sample counts once for every class it holds. Every class that occurs is given the same number of samples: the mean
    over these classes of how many hold each. All samples of a class come once before one of them comes again.

    Args:
        labels: the classes of each sample's objects.
        num_classes: number of classes.
        rng: decides which samples are left over.

    Returns:
        (N,) positions in ``labels``, ascending.

    Raises:
        DatasetError: no sample holds an object.
    """
    holders = [np.flatnonzero([(found == label).any() for found in labels]) for label in range(num_classes)]
    holders = [samples for samples in holders if len(samples)]
    if not holders:
        raise DatasetError(
            f"class-balanced sampling received {len(labels)} samples without an object; expected labelled ones: check "
            "the labels, or sample without balance"
        )
    wanted = round(sum(map(len, holders)) / len(holders))
    chosen = []
    for samples in holders:
        times, left = divmod(wanted, len(samples))
        chosen += [np.repeat(samples, times), rng.permutation(samples)[:left]]
    return np.sort(np.concatenate(chosen))


def balanced(source: SampleSource, class_names: tuple[str, ...], seed: int) -> SubsetSource:
    """A source in which every class of its annotations has the same share; reads no cloud.

    Args:
        source: labelled samples.
        class_names: classes to balance; boxes of others count for none.
        seed: decides which samples are left over.

    Raises:
        DatasetError: no sample holds an object.
    """
    annotations = (source.annotations(i) for i in range(len(source)))
    labels = [np.zeros(0, np.int64) if a is None else a.boxes.relabelled(class_names).labels for a in annotations]
    return SubsetSource(source, balanced_indices(labels, len(class_names), np.random.default_rng((seed, 0xCB65))))
