"""View-of-Delft's classes, in lower case, and what they are in nuScenes' ten.

Source: the data set's annotation document. A *Cyclist* is the cycle with whoever rides it, as nuScenes draws it; the
*rider* has a box of their own inside, which is left out. A *bicycle* is parked. Racks hold many of them, and have no
class among the ten, as *human_depiction*, *ride_other*, *ride_uncertain* and *vehicle_other* have none.
"""

from __future__ import annotations

VIEW_OF_DELFT_CLASSES = (
    "car", "pedestrian", "cyclist", "rider", "bicycle", "bicycle_rack", "human_depiction", "moped_scooter", "motor",
    "ride_other", "ride_uncertain", "truck", "vehicle_other",
)  # fmt: skip

VIEW_OF_DELFT_TO_NUSCENES = {
    "car": "car",
    "truck": "truck",
    "pedestrian": "pedestrian",
    "cyclist": "bicycle",
    "bicycle": "bicycle",
    "moped_scooter": "motorcycle",
    "motor": "motorcycle",
}
