"""Names of the environment variables that give Fast DDS its XML profile."""

PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
"""The first is read on Humble and Jazzy, the second on Kilted and later."""


def profile_variable(distro: str) -> str:
    """The variable that a ROS 2 distribution reads; ``"pip"`` stands for the wheels, which are of Jazzy."""
    up_to_jazzy, later = PROFILE_VARIABLES
    return up_to_jazzy if distro in ("humble", "jazzy", "pip") else later
