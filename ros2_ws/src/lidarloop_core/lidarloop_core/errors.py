"""Errors that a user can cause. Each message names what was received, what was expected and the remedy."""

import re

_LONGEST_MESSAGE = 2000
_LINE_BREAK = re.compile(r"\s*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*")
# Other control characters, and halves of surrogate pairs.
_NOT_IN_A_LINE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def shortened(text: str, longest: int = _LONGEST_MESSAGE) -> str:
    """A text of at most ``longest`` characters, of a longer one the beginning, and the end, where the remedy is."""
    if len(text) <= longest:
        return text
    tail = longest // 4
    return f"{text[: longest - tail - 3]} … {text[-tail:]}"


def one_line(text: str) -> str:
    """A text with a space for each line break and the blanks around it, and other control characters escaped."""
    return _NOT_IN_A_LINE.sub(lambda found: repr(found.group())[1:-1], _LINE_BREAK.sub(" ", text.strip()))


class LidarloopError(ValueError):
    """A user's mistake: the command line prints its message as one line and exits with 1.

    The message may quote names and texts from outside, of any length and with any character: it is made one line, other
    control characters are escaped, and it is shortened to 2,000 characters.
    """

    def __init__(self, message: str) -> None:
        super().__init__(shortened(one_line(message)))


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
