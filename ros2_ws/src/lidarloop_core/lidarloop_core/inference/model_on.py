"""The detector or the segmenter that a loaded model is, by its outputs."""

from __future__ import annotations

from lidarloop_core.inference.backend import Backend
from lidarloop_core.inference.detector import Detector
from lidarloop_core.inference.postprocess import Postprocessing
from lidarloop_core.inference.segmenter import Segmenter
from lidarloop_core.model.outputs import Segmentation


def model_on(backend: Backend, postprocessing: Postprocessing | None = None) -> Detector | Segmenter:
    """A detector or a segmenter.

    Args:
        backend: the loaded model.
        postprocessing: settings of what follows a detector's network; those of ``Detector`` by default.

    Raises:
        ModelFileError: a segmenter of too many classes.
        ConfigError: ``postprocessing`` names a class that a detector does not have.
    """
    if isinstance(backend.spec.outputs, Segmentation):
        return Segmenter(backend)
    return Detector(backend, postprocessing=postprocessing)
