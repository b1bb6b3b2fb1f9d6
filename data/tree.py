"""Nested parameters in HDF5: one JSON text, and every array in a dataset of its own, which keeps its bits."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from data.hdf5 import dataset

if TYPE_CHECKING:
    import h5py

REFERENCE = "$dataset"  # {"$dataset": "/operator/kernel"} stands for the array stored there


def encode(tree: dict[str, Any], put: Callable[[str, np.ndarray], str]) -> str:
    """JSON of a tree of dicts, lists, numbers and texts; arrays go to `put(name, array)`, which says where.

    Raises:
        TypeError: something in the tree is none of these.
    """

    def plain(value: Any, name: str) -> Any:
        if isinstance(value, dict):
            return {
                str(key): plain(item, f"{name}.{key}" if name else str(key)) for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [plain(item, f"{name}.{index}") for index, item in enumerate(value)]
        if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
            return {REFERENCE: put(name, value)}
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise TypeError(
            f"got {type(value).__name__} for {name}; expected numbers, texts, lists, dicts or arrays; "
            "convert tensors with .numpy()"
        )

    return json.dumps(plain(tree, ""))


def decode(text: str, get: Callable[[str], np.ndarray]) -> dict[str, Any]:
    """The tree of a JSON text, with `get(path)` for each array in it.

    Raises:
        ValueError: the text is not the JSON of a dict.
    """

    def whole(value: Any) -> Any:
        if isinstance(value, dict):
            if set(value) == {REFERENCE} and isinstance(value[REFERENCE], str):
                return get(value[REFERENCE])
            return {key: whole(item) for key, item in value.items()}
        return [whole(item) for item in value] if isinstance(value, list) else value

    try:
        tree = json.loads(text)
        if not isinstance(tree, dict):
            raise ValueError(f"got {type(tree).__name__}; expected a JSON object")
        return whole(tree)
    except RecursionError:
        raise ValueError("got JSON nested too deeply; expected parameters") from None


def write_tree(group: h5py.Group, tree: dict[str, Any], places: dict[str, str] | None = None) -> None:
    """Stores a tree in a group: JSON in the attribute `parameters`, arrays as datasets.

    Args:
        group: of the open file.
        tree: dicts, lists, numbers, texts and arrays.
        places: absolute names of the arrays that do not go into the group itself.
    """

    def put(name: str, array: np.ndarray) -> str:
        where = (places or {}).get(name, f"{group.name}/{name}")
        group.file[where] = array
        return where

    group.attrs["parameters"] = encode(tree, put)


def read_tree(group: h5py.Group) -> dict[str, Any]:
    """What `write_tree` stored.

    Raises:
        ValueError: the attribute is missing, no JSON, or names an array that is not there.
        InputRefused: an array is larger than the limit, or not numeric.
    """

    def get(where: str) -> np.ndarray:
        if where not in group.file:
            raise ValueError(f"got parameters that name {where}, which the file does not hold")
        return dataset(group.file, where.lstrip("/"))[()]

    text = group.attrs.get("parameters")
    if not isinstance(text, str):
        raise ValueError(f"got {group.name} without the text attribute 'parameters'; expected a JSON object")
    return decode(text, get)
