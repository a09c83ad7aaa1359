"""Errors that a user can cause. Each message names what was received, what was expected and the remedy."""


class LidarloopError(ValueError):
    """A user's mistake: the command line prints its message as one line and exits with 1."""


class CloudFormatError(LidarloopError):
    """A point cloud message whose layout cannot be decoded, or that lacks a column the model needs."""


class ImageFormatError(LidarloopError):
    """A camera picture whose encoding or layout cannot be decoded."""


class ModelFileError(LidarloopError):
    """A model file of another program, a corrupt one, or one that does not fit its own ModelSpec."""


class BackendError(LidarloopError):
    """An inference backend that is not installed, or that refused the execution provider asked for."""


class BagError(LidarloopError):
    """A bag that is truncated, foreign, or lacks a topic that was asked for."""


class DatasetError(LidarloopError):
    """A data set folder with a missing table, a missing file, or a file of the wrong size."""


class PoseError(LidarloopError):
    """Numbers that are no rigid transform: not finite, a quaternion of zeros, or a matrix that is no rotation."""


class ConfigError(LidarloopError):
    """An unknown recipe or parameter, or a value outside its range."""
