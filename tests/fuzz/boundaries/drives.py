"""Drives of public data sets: tables, texts, clouds, pictures and calibration with one or two files damaged."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from lidarloop_training.data.bag.writer import write_bag
from lidarloop_training.data.drive_lookup import drive_named
from tests.fuzz import mutate, trees


def case(rng: Random, folder: Path) -> Callable[[], object]:
    kind = rng.choice(list(trees.drives()))
    tree, path = trees.drives()[kind]
    arrow = [name for name in tree if name.endswith((".parquet", ".feather"))]
    root = folder / "in"
    if arrow and rng.random() < 0.7:
        trees.write_tree(tree, root)
        _damage_table(rng, root / rng.choice(arrow))
    else:
        trees.write_damaged(rng, tree, root)
    converts = rng.random() < 0.3

    def read() -> None:
        source = drive_named(kind, str(root / path)).open(num_sweeps=2)
        if converts:
            write_bag(source, folder / "out" / "drive.mcap")
        else:
            trees.read_all(source)

    return read


def _damage_table(rng: Random, path: Path) -> None:
    """Exchanges values, or drops or renames a column, of a file in an Arrow format."""
    import pyarrow
    from pyarrow import feather, parquet

    is_parquet = path.suffix == ".parquet"
    table = parquet.read_table(path) if is_parquet else feather.read_table(path)
    columns: dict[str, list[Any]] = table.to_pydict()
    name = rng.choice(list(columns))
    change = rng.choice(("value", "value", "value", "drop", "rename", "empty", "repeat"))
    if change == "value" and columns[name]:
        columns[name][rng.randrange(len(columns[name]))] = mutate.value(rng)
    elif change == "drop":
        del columns[name]
    elif change == "rename":
        columns[f"{name} "] = columns.pop(name)
    elif change == "empty":
        columns = {key: [] for key in columns}
    else:
        columns = {key: values * 2 for key, values in columns.items()}
    try:
        changed = pyarrow.table(columns)
    except (pyarrow.ArrowException, OverflowError, UnicodeEncodeError, TypeError):  # no column holds both kinds
        columns[name] = [None] * len(next(iter(columns.values())))
        changed = pyarrow.table(columns)
    buffer = io.BytesIO()
    (parquet.write_table if is_parquet else feather.write_feather)(changed, buffer)
    path.write_bytes(buffer.getvalue())
