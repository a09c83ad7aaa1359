"""The faults that have a defined answer: the rows of docs/faults.md. Their tests carry ``@pytest.mark.fault(key)``."""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """One row.

    Attributes:
        key: what tests name it by.
        fault: what happens to the node.
        answer: what the node does.
    """

    key: str
    fault: str
    answer: str


FAULTS = (
    Fault("empty_cloud", "Empty cloud", "An empty array, or labelled cloud, with the cloud's header"),
    Fault("not_finite", "NaN or Inf in points", "Those points are left out; WARN above `non_finite_warn_share`"),
    Fault(
        "wild_values",
        "A value that is NaN, infinite or far beyond the training's, in a column besides x y z; (0, 0, 0) where "
        "nothing came back",
        "The point is left out, or clamped to what the model takes: counted, WARN with the column and the value, equal "
        "boxes. (0, 0, 0) is no return: left out and counted apart, no fault",
    ),
    Fault(
        "intensity",
        "Intensity flat, zero, in another unit or missing",
        "Flat, zero, other unit: detects, WARN. Missing: dropped with an ERROR, or zeros with a WARN, by "
        "`missing_intensity`",
    ),
    Fault(
        "decodable",
        "Unusual field order, datatype, byte order, padding or rows",
        "Decoded, equal boxes",
    ),
    Fault(
        "undecodable",
        "Missing x, y or z, unknown datatype, inconsistent point_step, row_step or data size, thousands of fields, a "
        "stamp with nanosec of a second or more",
        "The cloud is dropped, ERROR naming the field and what was expected; the next is answered",
    ),
    Fault(
        "capacity",
        "Ten times more pillars, voxels or points than there is room for",
        "Thinned, WARN, still detects, or labels the points",
    ),
    Fault(
        "time_backward",
        "Stamps go backward, a bag loops, simulated time starts over",
        "Sweeps and ego-motion are dropped, WARN",
    ),
    Fault("disorder", "A cloud comes a few milliseconds late", "Answered; sweeps and ego-motion of the others stay"),
    Fault(
        "two_clocks",
        "Two publishers of one topic, on clocks far apart",
        "Both are answered, nothing is reset after the first time, WARN naming the topic and the difference",
    ),
    Fault("stamps", "Stamp zero, in the future or stale", "The cloud is dropped, WARN naming the reason"),
    Fault("other_clock", "Stamps of another clock (recording without /clock)", "Detects, WARN that ages are unknown"),
    Fault("duplicate", "The same cloud twice", "The second is dropped, WARN"),
    Fault(
        "motion",
        "TF or odometry missing or stale",
        "A bounded wait off the executor; then a single sweep or a drop, by `without_motion`; WARN, and ERROR after "
        "`motion_error_after_s`",
    ),
    Fault(
        "implausible",
        "Odometry or TF jumps: faster, or turning faster, than the vehicle can",
        "A single sweep, by limits that are parameters; WARN naming the motion and the limit",
    ),
    Fault("frame_names", "Frame names with a leading slash", "The same frames; the answer has the cloud's own header"),
    Fault(
        "lidar_missing",
        "One of several LiDARs is silent, late or not placed by TF",
        "Detects with the others after its delay budget, WARN naming it",
    ),
    Fault(
        "camera_missing",
        "A camera of a model with cameras drops out, or all do",
        "Detects with the others after its patience, or from the points alone, WARN naming each",
    ),
    Fault(
        "camera",
        "A camera drops out, is out of step or has no calibration",
        "The detector is not affected; the cloud is labelled without it, its frame marked degraded, WARN",
    ),
    Fault(
        "label_disk",
        "Disk full, folder not writable or deleted, quota reached",
        "Keeping pauses with a WARN and resumes by itself, or the frames of least value are deleted; labels and "
        "detections go on",
    ),
    Fault(
        "kill_while_writing",
        "kill -9 while a frame is written, sixty times",
        "No corrupt frame, no finished frame lost",
    ),
    Fault("slow", "Clouds come faster than they are processed", "The newest wins, the others are counted, WARN"),
    Fault("blocked", "Far fewer points than usual", "Detects, WARN"),
    Fault("mounting", "The ground at another height than in training", "Detects, WARN with both heights"),
    Fault(
        "model_file",
        "Model file missing, corrupt, of another hash or another spec, a pipe or a device",
        "Not configured, ERROR with the reason",
    ),
    Fault(
        "model_swap",
        "A new model that is corrupt, has other classes, is a pipe or a device, or is not ready in time",
        "It is not taken, the one in use goes on without losing a cloud; WARN and the service's answer give the reason",
    ),
    Fault(
        "backend",
        "The backend raises (out of memory)",
        "One retry, WARN; if that fails too an ERROR, and a clean exit with code 3 for respawn",
    ),
    Fault("callback", "An exception in a callback", "That message is dropped, ERROR; the node goes on"),
    Fault(
        "mismatch",
        "A publisher's or subscriber's type or QoS does not fit",
        "ERROR (of a subscriber: WARN) naming policy and remedy",
    ),
    Fault(
        "silence", "No publisher, or a publisher but no data", "WARN naming the topic or the DDS profile; then STALE"
    ),
    Fault(
        "parameters", "A parameter misspelt, of another type, out of range or NaN", "Refused, with what was expected"
    ),
    Fault(
        "autoware",
        "`autoware_objects` where autoware_perception_msgs is not installed, or has other fields",
        "Not configured, ERROR naming the package and the remedy; without the parameter it detects",
    ),
    Fault("death", "kill -9 of the node", "Started again it is configured, active and detecting"),
    Fault("orphan", "kill -9 of a replay", "Its node ends with it; a domain with a node left over is not taken"),
    Fault("signals", "SIGINT, SIGTERM, twice", "Ends with 0, nothing left behind"),
    Fault("namespaces", "Two nodes in two namespaces", "No cross-talk"),
    Fault("transitions", "A lifecycle transition that its state does not have", "Refused; the node goes on"),
    Fault("truncated_bag", "A bag that breaks off", "Refused with the remedy; salvaged, every cloud left is detected"),
)
