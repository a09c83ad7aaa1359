"""The boundaries where data from outside enters: a module each, whose ``case`` makes an input and gives its reader."""

BOUNDARIES = {
    "clouds": 4,
    "bags": 4,
    "messages": 4,
    "motion": 3,
    "drives": 6,
    "images": 4,
    "calibration": 3,
    "models": 4,
    "results": 3,
    "masks": 3,
    "frames": 4,
    "paints": 2,
    "corrections": 2,
    "checkpoints": 2,
    "parameters": 2,
    "command_lines": 3,
}
"""Name of the module → its share of the inputs: less where one takes long."""
