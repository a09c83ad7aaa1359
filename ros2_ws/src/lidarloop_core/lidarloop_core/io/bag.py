"""ROS 2 bags without a ROS installation, over rosbags: reads MCAP files and bag folders, writes single MCAP files."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from rosbags.interfaces import (
    Connection,
    MessageDefinitionFormat,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from lidarloop_core.errors import BagError
from lidarloop_core.io import atomic, regular_file, vision_msgs
from lidarloop_core.io.mcap_storage import RosReader

# Published once and kept for late subscribers (transient local).
LATCHED_TOPICS = frozenset({"/tf_static", "/lane_map", "/ground_truth/class_names"})

_FOREVER = QosTime(9223372036, 854775807)  # how ROS 2 writes "infinite"
_LATCHED_QOS = Qos(
    history=QosHistory.KEEP_LAST,
    depth=1,
    reliability=QosReliability.RELIABLE,
    durability=QosDurability.TRANSIENT_LOCAL,
    deadline=_FOREVER,
    lifespan=_FOREVER,
    liveliness=QosLiveliness.AUTOMATIC,
    liveliness_lease_duration=_FOREVER,
    avoid_ros_namespace_conventions=False,
)


def typestore() -> Typestore:
    """A new store with the message types of ROS 2 Jazzy and vision_msgs."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for name, text in vision_msgs.DEFINITIONS.items():
        store.register(get_types_from_msg(text, name))
    return store


@lru_cache(maxsize=1)
def _default_store() -> Typestore:
    return typestore()


def message_type(name: str) -> Any:
    """The message class for a type name, e.g. ``"sensor_msgs/msg/PointCloud2"``: the ``types`` of ``io.messages``."""
    return _default_store().types[name]


class BagReader:
    """Reads a ``.mcap`` or ``.db3`` file, or a bag folder with ``metadata.yaml``. Use as a context manager.

    Attributes:
        path: the bag.
        topics: topic → message type.
        message_counts: topic → number of messages.
        latched_topics: topics recorded with transient-local durability; play these before all others.
        start_ns: time of the first message, 0 in an empty bag.
        duration_ns: from the first message to the last.

    Raises:
        BagError: the bag is missing, truncated, no ROS 2 bag, or a file of it is a pipe or a device.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._store = _default_store()
        with _bag_errors(self.path):
            _require_regular_files(self.path)
            self._reader = RosReader(self.path)
            self._reader.open()
        connections = self._reader.connections
        self.topics = {c.topic: c.msgtype for c in sorted(connections, key=lambda c: c.topic)}
        self.message_counts = {topic: sum(c.msgcount for c in connections if c.topic == topic) for topic in self.topics}
        self.latched_topics = frozenset(c.topic for c in connections if _is_latched(c))
        has_messages = self._reader.message_count > 0
        self.start_ns = self._reader.start_time if has_messages else 0
        # rosbags counts to one nanosecond after the last message.
        self.duration_ns = self._reader.duration - 1 if has_messages else 0

    def __enter__(self) -> BagReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._reader.is_open:
            self._reader.close()

    def messages(
        self, topics: Collection[str] | None = None, *, start_ns: int | None = None, stop_ns: int | None = None
    ) -> Iterator[tuple[str, int, Any]]:
        """(topic, time_ns, deserialised message) in time order.

        Args:
            topics: those wanted, None for all.
            start_ns, stop_ns: only messages of start_ns ≤ time_ns < stop_ns, found by the bag's index.

        Raises:
            BagError: a topic is not in the bag (the message names those that are) or carries several types, a type is
                unknown, or data is corrupt.
        """
        connections = self._connections(topics)
        for connection in connections:
            self._ensure_type(connection)
        return self._deserialised(connections, start_ns, stop_ns)

    def raw_messages(
        self, topics: Collection[str] | None = None, *, start_ns: int | None = None, stop_ns: int | None = None
    ) -> Iterator[tuple[str, int, bytes]]:
        """(topic, time_ns, serialised CDR bytes) in time order: what rclpy's publishers take as they are."""
        records = self._records(self._connections(topics), start_ns, stop_ns)
        return ((c.topic, time_ns, bytes(raw)) for c, time_ns, raw in records)

    def require(self, *topics: str) -> None:
        """Raises BagError, naming the topics found, unless the bag has all of these."""
        missing = [t for t in topics if t not in self.topics]
        if missing:
            found = ", ".join(f"{t} ({kind})" for t, kind in self.topics.items()) or "none"
            raise BagError(
                f"{self.path} has no topic {', '.join(missing)}; found {found}. Record the topic, or name one of those"
            )

    def _connections(self, topics: Collection[str] | None) -> list[Connection]:
        if topics is None:
            return list(self._reader.connections)
        self.require(*topics)
        chosen = [c for c in self._reader.connections if c.topic in topics]
        for connection in chosen:
            if connection.msgtype != self.topics[connection.topic]:
                raise BagError(
                    f"{self.path}: {connection.topic} carries messages of types {connection.msgtype} and "
                    f"{self.topics[connection.topic]}; expected one type: record them on topics of their own"
                )
        return chosen

    def _records(
        self, connections: list[Connection], start_ns: int | None, stop_ns: int | None
    ) -> Iterator[tuple[Connection, int, bytes]]:
        # rosbags takes an empty selection for "all of them".
        records = iter(self._reader.messages(connections, start_ns, stop_ns) if connections else ())
        while True:
            with _bag_errors(self.path):
                record = next(records, None)
            if record is None:
                return
            yield record

    def _deserialised(
        self, connections: list[Connection], start_ns: int | None, stop_ns: int | None
    ) -> Iterator[tuple[str, int, Any]]:
        for connection, time_ns, raw in self._records(connections, start_ns, stop_ns):
            with _message_errors(self.path, connection, time_ns, len(raw)):
                message = self._store.deserialize_cdr(raw, connection.msgtype)
            yield connection.topic, time_ns, message

    def _ensure_type(self, connection: Connection) -> None:
        """Registers a type that only the bag's embedded definition describes."""
        if connection.msgtype in self._store.fielddefs:
            return
        definition = connection.msgdef
        if definition.format is MessageDefinitionFormat.NONE:
            raise BagError(
                f"{self.path} has messages of type {connection.msgtype} on {connection.topic} without their definition;"
                " expected a standard type or an embedded definition: record the bag as MCAP"
            )
        with _bag_errors(self.path):
            if definition.format is MessageDefinitionFormat.IDL:
                types = get_types_from_idl(definition.data)
            else:
                types = get_types_from_msg(definition.data, connection.msgtype)
            if self._store is _default_store():
                self._store = typestore()  # a bag's own types stay out of the store that all readers share
            self._store.register({name: fields for name, fields in types.items() if name not in self._store.fielddefs})


def header_stamp_ns(raw: bytes) -> int | None:
    """The stamp of a serialised message that starts with a std_msgs/Header, nanoseconds; None if it is too short."""
    if len(raw) < _STAMPED_SIZE:
        return None
    order: Literal["little", "big"] = "little" if raw[1] & 1 else "big"
    seconds = int.from_bytes(raw[4:8], order, signed=True)
    return seconds * 1_000_000_000 + int.from_bytes(raw[8:12], order)


_STAMPED_SIZE = 12  # bytes: the encapsulation's header, seconds, nanoseconds


def _require_regular_files(path: Path) -> None:
    """Raises OSError for a pipe or a device, at which opening or reading would not end."""
    if path.is_dir():
        regular_file.require(path / "metadata.yaml", _MOST_METADATA_BYTES)
    for file in path.iterdir() if path.is_dir() else (path,):
        if file.suffix in (".mcap", ".db3", ".zstd") or file == path:
            regular_file.require(file, _MOST_BAG_BYTES)


_MOST_METADATA_BYTES = 64 << 20
_MOST_BAG_BYTES = 1 << 50  # a recording may be larger than the memory: it is read piece by piece


@contextmanager
def _message_errors(path: Path, connection: Connection, time_ns: int, num_bytes: int) -> Iterator[None]:
    """Names the message that cannot be decoded."""
    try:
        yield
    except Exception as error:  # rosbags raises a dozen types for short or damaged bytes
        raise BagError(
            f"{path}: the message of {connection.topic} at {time_ns} ns is no {connection.msgtype} "
            f"({type(error).__name__} in {num_bytes} bytes); expected a complete one: leave the topic out, or "
            "record it again"
        ) from None


@contextmanager
def _bag_errors(path: Path) -> Iterator[None]:
    """Turns the errors of rosbags on missing or corrupt bags into ``BagError``."""
    try:
        yield
    except FileNotFoundError as error:
        raise BagError(
            f"{path} is no bag ({error}); expected an .mcap or .db3 file, or a folder with metadata.yaml"
        ) from None
    except PermissionError as error:
        raise BagError(f"{path} cannot be read ({error.strerror}); check its permissions") from None
    except regular_file.UnreadableFileError as error:
        raise BagError(
            f"{path} is no bag ({error.strerror}); expected an .mcap or .db3 file, or a folder with metadata.yaml"
        ) from None
    except Exception as error:  # besides its own errors: struct, type and assertion errors on cut records
        raise BagError(
            f"{path} is truncated, corrupt or no ROS 2 bag ({error or type(error).__name__}); expected an intact MCAP "
            "or sqlite3 bag: copy it again, or save the intact part of an interrupted recording with "
            f"`lidarloop convert bag {path} OUT.mcap --salvage`"
        ) from None


def _is_latched(connection: Connection) -> bool:
    profiles: list[Qos] = getattr(connection.ext, "offered_qos_profiles", [])
    # /tf_static is latched by definition, whatever a converter forgot to write.
    return connection.topic == "/tf_static" or any(q.durability is QosDurability.TRANSIENT_LOCAL for q in profiles)


class BagWriter:
    """Writes one MCAP file. Use as a context manager: the file appears only when the block ends without an exception.

    Equal messages in equal order give equal bytes.

    Args:
        path: the file to write, ``….mcap``; an existing one is replaced.
        latched_topics: topics recorded with transient-local durability.
    """

    def __init__(self, path: Path | str, *, latched_topics: Collection[str] = LATCHED_TOPICS) -> None:
        self.path = Path(path)
        if self.path.suffix != ".mcap":
            raise BagError(f"BagWriter received {self.path}; expected a file name ending in .mcap")
        self._latched_topics = latched_topics
        self._store = _default_store()
        self._connections: dict[str, Connection] = {}

    def __enter__(self) -> BagWriter:
        with ExitStack() as opening:
            folder = opening.enter_context(atomic.temporary_folder(self.path))
            # rosbags writes folders, and their name into the file: a constant one, so that bytes do not depend on it.
            self._bag = folder / "bag"
            self._writer = Writer(self._bag, version=9, storage_plugin=StoragePlugin.MCAP)
            self._writer.open()
            self._opened = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._opened:
            if error is None:
                self._writer.close()
                atomic.publish(self._bag / "bag.mcap", self.path)
            else:
                self._writer.abort()

    def write(self, topic: str, time_ns: int, msg: Any) -> None:
        """Appends one message (of a class from ``message_type``).

        Raises:
            BagError: the topic has a name that ROS does not allow, or already carries messages of another type.
        """
        msgtype: str = msg.__msgtype__
        connection = self._connections.get(topic)
        if connection is None:
            _require_topic_name(topic)
            connection = self._connections[topic] = self._writer.add_connection(
                topic,
                msgtype,
                typestore=self._store,
                offered_qos_profiles=[_LATCHED_QOS] if topic in self._latched_topics else [],
            )
        if connection.msgtype != msgtype:
            raise BagError(f"BagWriter received a {msgtype} on {topic}; expected a {connection.msgtype} as before")
        self._writer.write(connection, time_ns, self._store.serialize_cdr(msg, msgtype))


def _require_topic_name(topic: str) -> None:
    if not re.fullmatch(r"(/[A-Za-z_][A-Za-z0-9_]*)+", topic):
        raise BagError(
            f"BagWriter received the topic {topic[:200]!r}; expected parts of letters, digits and _, each after a / "
            "and without a digit first"
        )
