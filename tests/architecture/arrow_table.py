"""The arrows of the house: which folder may import which, inside each distribution.

A row is a folder relative to its distribution (``labelling.points``), or a module that lies beside the folders
(``errors``). It names all that the folder's own modules may import; sub-folders have rows of their own. Between
distributions: core ← ros; core ← training ← export.
"""

from __future__ import annotations

CORE: dict[str, set[str]] = {
    "errors": set(),
    "classes": set(),
    "colors": set(),
    "fast_dds": {"io"},
    "machine": set(),
    "progress": set(),
    "bounds": {"errors"},
    "shell": set(),
    # What a cloud is, and how it is read and grouped.
    "geometry": {"errors"},
    "sample": {"geometry"},
    "pointcloud": {"errors", "bounds", "geometry", "sample"},
    "sparse": {"errors", "pointcloud"},
    "io": {"classes", "errors", "geometry", "sample", "pointcloud"},
    "camera_bev": {"bounds", "geometry", "sample", "pointcloud", "io"},
    # What a model is, and how it runs.
    "model": {"errors", "bounds", "geometry", "pointcloud", "sparse", "io", "camera_bev"},
    "gpu": {"errors", "geometry", "sample", "pointcloud", "sparse", "model"},
    "inference.tensorrt": {"errors", "progress", "io", "model", "gpu"},
    "inference": {
        "errors", "geometry", "sample", "pointcloud", "camera_bev", "model", "gpu", "inference.tensorrt",
    },
    # How masks and clouds become labels.
    "tracking": {"errors", "geometry"},
    "labelling": {"errors", "geometry", "io"},
    "labelling.points": {"errors", "geometry", "sample", "pointcloud", "labelling"},
    "labelling.placing": {"geometry", "sample", "labelling", "labelling.points"},
    "labelling.lifting": {
        "classes", "errors", "geometry", "sample", "labelling", "labelling.points", "labelling.placing",
    },
    "labelling.painting": {
        "errors", "sample", "labelling", "labelling.mask_models", "labelling.points",
    },
    "labelling.refining": {"geometry", "tracking", "labelling", "labelling.points"},
    "labelling.mask_models": {"classes", "errors", "sample", "io", "inference", "labelling"},
    "labelling.selection": {"errors", "geometry", "sample", "io", "tracking", "labelling"},
    # What measures and checks all of it.
    "bench": {
        "errors", "machine", "geometry", "sample", "pointcloud", "io", "model", "inference",
        "labelling", "labelling.lifting", "labelling.placing",
    },
    "doctor": {"errors", "fast_dds", "io", "machine", "model", "gpu", "inference.tensorrt"},
    "cli": {"errors"},
}  # fmt: skip

ROS: dict[str, set[str]] = {
    # What the programs share.
    "node": set(),
    "messages": set(),
    "inputs": {"node"},
    # One folder a program.
    "detector": {"node", "messages", "inputs"},
    "self_labeller": {"node", "messages", "inputs"},
    "replay": {"node", "messages", "inputs", "detector", "self_labeller"},
}

TRAINING: dict[str, set[str]] = {
    "workers": set(),
    "ranges": set(),
    "arrow_columns": set(),
    "toytown.faults": set(),
    "toytown.solids": set(),
    "toytown.streets": {"toytown.solids"},
    "toytown.population": {"toytown.solids", "toytown.streets"},
    "toytown": {"toytown.faults", "toytown.solids", "toytown.streets", "toytown.population"},
    # Where samples come from.
    "data.writing": {"workers", "toytown"},
    "data.views": {"ranges", "data.writing"},
    "data.av2": {"arrow_columns"},
    "data.bag": {"data.writing"},
    "data.kept_frames": set(),
    "data.kitti": set(),
    "data.nuscenes": {"data.writing", "data.views"},
    "data.waymo": {"arrow_columns"},
    "data.once": {"data.waymo"},
    "data.pandaset": {"data.nuscenes"},
    "data.view_of_delft": {"data.kitti"},
    "data.toytown": {
        "ranges", "workers", "toytown", "toytown.faults", "data.nuscenes", "data.views", "data.writing",
        "pseudolabel.mask_models",
    },
    "data": {
        "ranges", "toytown", "data.av2", "data.bag", "data.kept_frames", "data.kitti", "data.nuscenes", "data.once",
        "data.pandaset", "data.view_of_delft", "data.views", "data.waymo",
    },
    "data.convert": {"ranges", "toytown", "data", "data.bag", "data.nuscenes", "data.views", "data.writing"},
    # How detections are judged and shown.
    "evaluation.metrics": {"data.waymo"},
    "evaluation.statistics": {"evaluation.metrics"},
    "evaluation": {"data", "data.kitti", "evaluation.metrics", "evaluation.statistics"},
    "evaluation.report": {"evaluation", "evaluation.metrics", "evaluation.statistics"},
    "viewer": {"data.writing", "evaluation", "evaluation.report", "tasks.pretext.units"},
    # How drives are labelled.
    "pseudolabel.mask_models": {"toytown"},
    "pseudolabel": {
        "ranges", "toytown", "toytown.faults", "data", "data.writing", "evaluation", "evaluation.metrics",
        "evaluation.report", "evaluation.statistics", "pseudolabel.mask_models",
    },
    "pseudolabel.executors": {"workers", "pseudolabel"},
    "painting": {"data.writing", "pseudolabel"},
    # What is learnt, and how.
    "models.backbones": set(),
    "models.sparse": set(),
    "models.encoders": {"models.sparse"},
    "models.heads": {"models.backbones"},
    "models.image": {"ranges"},
    "models": {"ranges", "models.backbones", "models.encoders", "models.heads", "models.sparse"},
    "models.fusion": {
        "ranges", "models", "models.backbones", "models.encoders", "models.heads", "models.image", "models.sparse",
    },
    "losses": {"ranges", "data", "models.heads"},
    "losses.distillation": {"ranges", "models.heads"},
    "tasks": {"ranges", "models.sparse"},
    "tasks.detection": {"ranges", "data.views", "models", "models.heads", "models.sparse", "losses", "tasks"},
    "tasks.distillation": {
        "data", "models", "models.heads", "models.sparse", "losses", "losses.distillation", "tasks", "tasks.detection",
    },
    "tasks.fusion": {"ranges", "models.fusion", "tasks", "tasks.detection"},
    "tasks.segmentation": {"data", "models", "models.encoders", "models.sparse", "losses", "tasks"},
    "tasks.pretext.units": {"ranges"},
    "tasks.pretext": {
        "ranges", "data", "models", "models.image", "models.sparse", "losses", "tasks", "tasks.pretext.units",
    },
    "tasks.pretext.masked": {"ranges", "data", "models", "models.sparse", "losses", "tasks", "tasks.pretext"},
    "tasks.pretext.pictures": {"ranges", "models", "models.image", "losses", "tasks", "tasks.pretext"},
    "stages": {
        "ranges", "data", "data.toytown", "data.views", "data.writing", "models", "models.sparse", "tasks",
        "tasks.detection", "tasks.distillation", "tasks.fusion", "tasks.pretext", "tasks.pretext.masked",
        "tasks.pretext.pictures",
        "tasks.segmentation",
    },
    "stages.adapt": {"ranges", "data", "data.views", "data.writing", "stages", "tasks", "tasks.detection"},
    "recipes": {
        "data", "data.toytown", "data.views", "models", "models.fusion", "models.image", "losses", "tasks",
        "tasks.detection", "tasks.distillation", "tasks.fusion", "tasks.pretext", "tasks.pretext.masked",
        "tasks.pretext.pictures", "tasks.pretext.units", "tasks.segmentation", "stages",
    },
    # The command line; nothing imports it.
    "commands": {
        "ranges", "data", "data.convert", "data.views", "data.writing", "evaluation", "evaluation.report", "viewer",
        "models.image", "painting", "pseudolabel", "pseudolabel.executors", "tasks.detection", "tasks.distillation",
        "tasks.pretext", "tasks.pretext.pictures", "tasks.segmentation", "stages", "recipes",
    },
    "commands.adapt": {
        "data", "data.toytown", "data.views", "data.writing", "pseudolabel", "recipes", "stages", "stages.adapt",
        "toytown", "commands",
    },
}  # fmt: skip

TABLES = {"lidarloop_core": CORE, "lidarloop_ros": ROS, "lidarloop_training": TRAINING}
"""``lidarloop_export`` and ``benchmarks`` are leaves: their modules form no cycle, and nothing imports them."""
