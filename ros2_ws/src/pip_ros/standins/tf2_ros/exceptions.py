"""Why a transform cannot be given."""


class TransformException(Exception):  # noqa: N818 (the real name)
    """Base of all of them."""


class LookupException(TransformException):
    """A frame is unknown."""


class ConnectivityException(TransformException):
    """Both frames are known, but no chain of transforms joins them."""


class ExtrapolationException(TransformException):
    """The chain has no data at the requested time."""


class InvalidArgumentException(TransformException):
    """An empty frame name, or one with a leading slash."""
