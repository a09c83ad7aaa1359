"""What can happen."""


class Event:
    pass
