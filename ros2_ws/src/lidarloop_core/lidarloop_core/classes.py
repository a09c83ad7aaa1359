"""The ten nuScenes detection classes: the project's default vocabulary, in the devkit's order."""

NUSCENES_CLASSES = (
    "car",
    "truck",
    "bus",
    "trailer",
    "construction_vehicle",
    "pedestrian",
    "motorcycle",
    "bicycle",
    "traffic_cone",
    "barrier",
)
