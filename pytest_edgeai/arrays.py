"""Named arrays: items on disk, and whether what a model answered is finite."""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Stacked arrays (first axis: calls) as an ``.npz`` file without compression: it is read more often than written."""
    # Not numpy.savez: inputs may have the names of its own arguments.
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def read(path: Path) -> dict[str, NDArray[Any]]:
    """The stacked arrays of an ``.npz`` file; Python objects are refused. Raises what numpy and zipfile raise."""
    # Not by its path: numpy leaves a file open that it can't read.
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def read_items(path: Path) -> list[dict[str, NDArray[Any]]]:
    """One mapping a call: ``array[i]`` is what is fed in call ``i``, batch axis included."""
    arrays = {name: np.ascontiguousarray(array) for name, array in read(path).items()}
    count = len(next(iter(arrays.values())))
    return [{name: np.asarray(array[index]) for name, array in arrays.items()} for index in range(count)]


def stack(items: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """The inputs of several calls as one: joined along their first axes, the batch."""
    # A scalar has no axis to be joined along; alone it needs none.
    return (
        dict(items[0])
        if len(items) == 1
        else {name: np.concatenate([item[name] for item in items]) for name in items[0]}
    )


def not_finite(outputs: Mapping[str, NDArray[Any]]) -> str | None:
    """The name of the first output that holds NaN or infinity; ``None`` when all are finite."""
    return next((name for name, a in outputs.items() if a.dtype.kind in "fc" and not np.isfinite(a).all()), None)
