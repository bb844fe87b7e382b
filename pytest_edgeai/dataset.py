"""The dataset: items with inputs and, perhaps, labels; split by what is in them."""

import hashlib
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai import arrays
from pytest_edgeai.errors import DatasetError
from pytest_edgeai.records import Assessment, TensorSpec, digest_of

CALIBRATION: Final = "calibration"
SELECTION: Final = "selection"
CONFIRMATION: Final = "confirmation"
SHARES: Final = {CALIBRATION: 20, SELECTION: 30, CONFIRMATION: 50}
"""Percent of the items that a part gets. Calibration items are never evaluated; the choice is found on selection items, and the gates on
the choice are decided on confirmation items."""
EVALUATION: Final = "evaluation"
"""Selection and confirmation items together: what gates on variants other than the choice are decided on."""
TIMED_ITEMS: Final = 16
LABELS: Final = ("labels", "label", "y")
"""Array names that hold labels rather than an input."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Items as stacked arrays, their labels, and which item is in which part."""

    inputs: Mapping[str, NDArray[Any]]
    """Input name -> array [items, ...]."""
    labels: NDArray[Any] | None
    parts: Mapping[str, NDArray[np.int64]]
    """Part -> indexes of its items, ascending."""
    digests: Sequence[str]
    """Of each item's inputs."""

    def __len__(self) -> int:
        return len(self.digests)

    def indexes(self, part: str) -> NDArray[np.int64]:
        """Of the items of a part, ascending."""
        if part == EVALUATION:
            return np.sort(np.concatenate([self.parts[SELECTION], self.parts[CONFIRMATION]]))
        return self.parts[part]

    def rows(self, indexes: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """The inputs of these items."""
        return {name: array[indexes] for name, array in self.inputs.items()}

    def digest(self, indexes: NDArray[np.int64]) -> str:
        """Of these items' inputs, in this order."""
        return digest_of([self.digests[index] for index in indexes])


class ItemFiles:
    """Items as files in a folder, for workers; each written when it is first asked for.

    ``dataset`` is ``None`` where there is no data: then only items to time calls on are made up.
    """

    def __init__(self, folder: Path, dataset: Dataset | None, assessment: Assessment) -> None:
        self.folder = folder
        self._dataset, self._assessment = dataset, assessment

    def timed(self) -> Path:
        """The few items that calls are timed on, one after the other."""
        data = self._dataset
        rows = made_up(self._assessment) if data is None else data.rows(np.arange(min(TIMED_ITEMS, len(data))))
        return self._written("timed", rows)

    def part(self, part: str) -> Path:
        """The items of a part. Raises DatasetError where there is no data."""
        if self._dataset is None:
            raise DatasetError("There is no dataset. Give one with --edge-dataset.")
        return self._written(part, self._dataset.rows(self._dataset.indexes(part)))

    def _written(self, name: str, rows: Mapping[str, NDArray[Any]]) -> Path:
        path = self.folder / f"{name}.npz"
        if not path.exists():
            arrays.write(path, rows)
        return path


def read(path: Path, assessment: Assessment) -> Dataset:
    """The items in an ``.npz`` file: one array per model input, first axis the items, and one of labels where there are any.

    Raises DatasetError, in one sentence, when the file can't be read or doesn't fit the model.
    """
    found: dict[str, Any] = {}
    regular = path.is_file() or not path.exists()  # opening a FIFO would block
    try:
        if regular:
            found = arrays.read(path)
    except FileNotFoundError as error:
        raise DatasetError(
            f"The dataset {path} doesn't exist. Give an .npz file with one array per model input."
        ) from error
    except (
        OSError,
        ValueError,
        TypeError,
        RuntimeError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        AttributeError,
        MemoryError,
    ) as error:
        raise DatasetError(
            f"The dataset {path} can't be read as an .npz file ({str(error) or 'it ends too early'}). "
            "Write it with numpy.savez, without Python objects."
        ) from error
    other = next((f"'{name}' is no array" for name, entry in found.items() if not isinstance(entry, np.ndarray)), None)
    if other or not regular:
        raise DatasetError(
            f"The dataset {path} can't be read as an .npz file ({other or 'not a regular file'}). Write it with numpy.savez."
        )
    label = next(
        (name for name in LABELS if name in found and name not in {spec.name for spec in assessment.inputs}), None
    )
    labels = np.atleast_1d(found.pop(label)) if label else None
    inputs = {spec.name: _fitting(found, spec, path) for spec in assessment.inputs}
    counts = {name: len(array) for name, array in inputs.items()}
    items = next(iter(counts.values()))
    if len(set(counts.values())) > 1:
        sizes = ", ".join(f"'{name}' has {count}" for name, count in counts.items())
        raise DatasetError(f"The dataset {path} has inputs with different numbers of items: {sizes}.")
    if items == 0:
        raise DatasetError(f"The dataset {path} is empty: its arrays have 0 items.")
    if labels is not None and len(labels) != items:
        raise DatasetError(
            f"The dataset {path} has {len(labels)} labels for {items} items; there must be one for each, in the same order."
        )
    digests = _digests(inputs, items)
    return Dataset(inputs=inputs, labels=labels, parts=split(digests), digests=digests)


def split(digests: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """Which items are in which part, by a hash of each item: adding items moves none, and equal items stay together."""
    bounds = np.cumsum(list(SHARES.values()))
    marks = np.array([int(digest[:15], 16) % 100 for digest in digests], dtype=np.int64)
    part = np.searchsorted(bounds, marks, side="right")
    return {name: np.flatnonzero(part == number) for number, name in enumerate(SHARES)}


def made_up(assessment: Assessment, items: int = 4, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Inputs of the right shape for timing where there is no data: standard normal numbers, small whole numbers; dynamic axes are 1.

    They prove nothing about accuracy.
    """
    rng = np.random.default_rng(seed)
    inputs = {}
    for spec in assessment.inputs:
        shape = [items, *(axis if isinstance(axis, int) else 1 for axis in spec.shape[1:])]
        dtype = np.dtype(spec.dtype)
        drawn = rng.standard_normal(shape) if dtype.kind == "f" else rng.integers(0, 2, shape)
        inputs[spec.name] = drawn.astype(dtype)
    return inputs


def _fitting(found: Mapping[str, NDArray[Any]], spec: TensorSpec, path: Path) -> NDArray[Any]:
    takes = f"the model's input '{spec.name}' takes {spec.dtype} [{', '.join(str(axis) for axis in spec.shape)}]"
    if spec.name not in found:
        has = ", ".join(f"'{name}'" for name in found) or "none"
        raise DatasetError(f"The dataset {path} has no array '{spec.name}', but {takes}. Its arrays: {has}.")
    array = found[spec.name]
    shape = [1, *array.shape[1:]]
    fits = array.ndim == len(spec.shape) and all(
        isinstance(a, str) or a == b for a, b in zip(spec.shape, shape, strict=True)
    )
    if not fits:
        raise DatasetError(
            f"The dataset {path}: {takes}, but an item of the array '{spec.name}' has the shape {shape}."
        )
    if array.dtype != np.dtype(spec.dtype):
        raise DatasetError(
            f"The dataset {path}: {takes}, but the array '{spec.name}' is {array.dtype}. Convert it with astype."
        )
    if array.dtype.kind in "fc" and not np.isfinite(array).all():
        raise DatasetError(f"The dataset {path}: the array '{spec.name}' holds NaN or infinity.")
    return array


def _digests(inputs: Mapping[str, NDArray[Any]], items: int) -> list[str]:
    digests = []
    for index in range(items):
        running = hashlib.sha256()
        for name in sorted(inputs):
            running.update(name.encode())
            running.update(np.ascontiguousarray(inputs[name][index]).tobytes())
        digests.append(running.hexdigest())
    return digests
