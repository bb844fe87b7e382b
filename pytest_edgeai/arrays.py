"""Named arrays: items on disk, and whether what a model answered is finite."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Stacked arrays (first axis: items) as an ``.npz`` file without compression: it is read more often than written."""
    np.savez(path, **arrays)  # type: ignore[arg-type] # numpy's stub takes every keyword for its flag


def read(path: Path) -> dict[str, NDArray[Any]]:
    """The stacked arrays of an ``.npz`` file; Python objects are refused."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def read_items(path: Path) -> list[dict[str, NDArray[Any]]]:
    """One mapping an item, each array with a batch axis of one."""
    arrays = {name: np.ascontiguousarray(array) for name, array in read(path).items()}
    count = len(next(iter(arrays.values())))
    return [{name: array[index : index + 1] for name, array in arrays.items()} for index in range(count)]


def not_finite(outputs: Mapping[str, NDArray[Any]]) -> str | None:
    """The name of the first output that holds NaN or infinity; ``None`` when all are finite."""
    return next((name for name, a in outputs.items() if a.dtype.kind in "fc" and not np.isfinite(a).all()), None)
