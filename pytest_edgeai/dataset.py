"""The dataset: items with inputs and, perhaps, labels and groups; split by what is in them. Without one, inputs are made up to time calls on.

An input's array has either the input's rank, and ``array[i:i+1]`` is fed for item ``i``, or one axis more, and ``array[i]`` is a whole call: for
models whose first axis is not the batch. Each input goes its own way.
"""

import hashlib
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai import arrays
from pytest_edgeai.errors import DatasetError, UsageError, unknown
from pytest_edgeai.records import TIME, Assessment, TensorSpec, digest_of, has_batch_axis

CALIBRATION: Final = "calibration"
SELECTION: Final = "selection"
CONFIRMATION: Final = "confirmation"
SHARES: Final = {CALIBRATION: 20, SELECTION: 30, CONFIRMATION: 50}
"""Percent of the items that a part gets. Calibration items are never evaluated; the choice is found on selection items, and the gates on
the choice are decided on confirmation items."""
EVALUATION: Final = "evaluation"
"""Selection and confirmation items together: what gates on variants other than the choice are decided on."""
WHOLE: Final = "whole"
"""All items, those of calibration included: what a claim on exactly this dataset is about."""
TIMED_ITEMS: Final = 16
LABELS: Final = ("labels", "label", "y")
"""Array names that hold labels rather than an input."""
GROUPS: Final = "groups"
"""Array name that tells which items belong together, unless the model has an input of that name."""


SMALLEST: Final = {"batch": 1, "samples": 16000, "sequence": 16, "spatial": 64, "channels": 3, "other": 16}
"""Sizes of dynamic axes that neither data nor ``--edge-shape`` tell, by what the axis is; see :func:`sizes_without_data`."""


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
    whole: frozenset[str] = frozenset()
    """Inputs whose items are whole calls; an item of the others gets a batch axis of one when it is fed."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Dynamic axis -> its size in every call."""
    groups: NDArray[np.int64] | None = None
    """The number of each item's group, of those that belong together (frames of one video); ``None``: each stands alone."""
    path: str = ""
    """The file that it was read from, for texts."""

    def __len__(self) -> int:
        return len(self.digests)

    def indexes(self, part: str) -> NDArray[np.int64]:
        """Of the items of a part, ascending."""
        if part == EVALUATION:
            return np.sort(np.concatenate([self.parts[SELECTION], self.parts[CONFIRMATION]]))
        if part == WHOLE:
            return np.arange(len(self))
        return self.parts[part]

    def calls(self, indexes: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Input name -> array [items, *shape of what is fed], of these items."""
        return {
            name: array[indexes] if name in self.whole else array[indexes][:, np.newaxis]
            for name, array in self.inputs.items()
        }

    def digest(self, indexes: NDArray[np.int64]) -> str:
        """Of these items' inputs, in this order."""
        return digest_of([self.digests[index] for index in indexes])


class ItemFiles:
    """Items as files in a folder, for workers; each written when it is first asked for, as whole calls (:func:`arrays.read_items`).

    ``dataset`` is ``None`` where there is no data: then only items to time calls on are made up, with axes of these ``sizes``.
    """

    def __init__(
        self, folder: Path, dataset: Dataset | None, assessment: Assessment, sizes: Mapping[str, int] | None = None
    ) -> None:
        self.folder = folder
        self._dataset, self._assessment, self._sizes = dataset, assessment, sizes or {}

    @property
    def hint(self) -> str:
        """What to say where calls on :meth:`timed` fail; empty where there are data."""
        if self._dataset is not None:
            return ""
        sizes = sizes_without_data(self._assessment, self._sizes)
        told = ", ".join(f"{axis}={size}" for axis, size in sizes.items())
        choose = f" ({told}); choose other sizes with --edge-shape, or" if told else ":"
        return f"Its inputs were made up{choose} give a dataset with --edge-dataset."

    def timed(self) -> Path:
        """The few items that calls are timed on, one after the other."""
        data = self._dataset
        if data is None:
            return self._written("timed", made_up(self._assessment, self._sizes))
        return self._written("timed", data.calls(np.arange(min(TIMED_ITEMS, len(data)))))

    def sample(self) -> Path:
        """Items to prove with that a variant answers."""
        return self.timed()

    def part(self, part: str) -> Path:
        """The items of a part. Raises DatasetError where there is no data."""
        if self._dataset is None:
            raise DatasetError("There is no dataset. Give one with --edge-dataset.")
        return self._written(part, self._dataset.calls(self._dataset.indexes(part)))

    def _written(self, name: str, calls: Mapping[str, NDArray[Any]]) -> Path:
        path = self.folder / f"{name}.npz"
        if not path.exists():
            arrays.write(path, calls)
        return path


def read(path: Path, assessment: Assessment, sizes: Mapping[str, int] | None = None) -> Dataset:
    """The items in an ``.npz`` file: one array per model input, first axis the items, and one of labels and of groups where there are any.

    ``sizes``: what the user said of dynamic axes (:func:`given_sizes`). Raises DatasetError, in one sentence, when the file can't be read, or doesn't
    fit the model or those sizes.
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
    together = (
        found.pop(GROUPS) if GROUPS in found and GROUPS not in {spec.name for spec in assessment.inputs} else None
    )
    inputs = {spec.name: _fitting(found, spec, path) for spec in assessment.inputs}
    counts = {name: len(array) for name, array in inputs.items()}
    items = next(iter(counts.values()))
    if len(set(counts.values())) > 1:
        told = ", ".join(f"'{name}' has {count}" for name, count in counts.items())
        raise DatasetError(f"The dataset {path} has inputs with different numbers of items: {told}.")
    if items == 0:
        raise DatasetError(f"The dataset {path} is empty: its arrays have 0 items.")
    if labels is not None and len(labels) != items:
        raise DatasetError(
            f"The dataset {path} has {len(labels)} labels for {items} items; there must be one for each, in the same order."
        )
    if together is not None and (together.shape != (items,) or together.dtype.kind not in "iuSU"):
        raise DatasetError(
            f"The dataset {path}: '{GROUPS}' is {together.dtype} {list(together.shape)}; it names each of the {items} items' group by a number or a text."
        )
    whole = frozenset(spec.name for spec in assessment.inputs if inputs[spec.name].ndim > len(spec.shape))
    found_sizes = _sizes_in(inputs, assessment, whole, path)
    for axis, size in (sizes or {}).items():
        if found_sizes.get(axis, size) != size:
            raise DatasetError(
                f"The dataset {path} has {found_sizes[axis]} for the axis '{axis}', and --edge-shape says {size}. "
                "With data the sizes are the data's: leave that axis out."
            )
    digests = _digests(inputs, items)
    groups = None if together is None else np.unique(together, return_inverse=True)[1]
    # What belongs together stays together: a neighbouring frame of a calibration item shows nothing new.
    parts = split(digests if together is None else [digest_of(name) for name in together.tolist()])
    return Dataset(
        inputs=inputs,
        labels=labels,
        parts=parts,
        digests=digests,
        whole=whole,
        sizes=found_sizes,
        groups=groups,
        path=str(path),
    )


def split(digests: Sequence[str], shares: Mapping[str, int] = SHARES) -> dict[str, NDArray[np.int64]]:
    """Which items are in which part, by a hash of each item, or of its group: adding items moves none, and equal ones stay together."""
    bounds = np.cumsum(list(shares.values()))
    marks = np.array([int(digest[:15], 16) % 100 for digest in digests], dtype=np.int64)
    part = np.searchsorted(bounds, marks, side="right")
    return {name: np.flatnonzero(part == number) for number, name in enumerate(shares)}


def batched_outputs(assessment: Assessment, dataset: Dataset) -> list[str]:
    """Outputs whose first axis is the batch, which is one item: it is cut where it has the length 1.

    It is the first axis of an input that is fed an item at a time, or has no name, or the length 1. Where every input is fed whole calls that have no
    batch of one as their first axis, outputs stay whole, too.
    """
    fed = [
        spec
        for spec in assessment.inputs
        if spec.name not in dataset.whole or (has_batch_axis(spec) and dataset.inputs[spec.name].shape[1] == 1)
    ]
    batch = {1, "...", *(spec.shape[0] for spec in fed if spec.shape)}
    return [
        spec.name
        for spec in assessment.outputs
        if fed and spec.shape and (spec.shape[0] in batch or spec.shape[0] == f"{spec.name}:0")
    ]


# Sizes of dynamic axes -------------------------------------------------------------------------------------------------------


def given_sizes(text: str | None, assessment: Assessment) -> dict[str, int]:
    """Dynamic axis -> size, from ``--edge-shape``: ``seq=128,height=224``; an axis may also be named INPUT:AXIS, as ``image:2=224``.

    Raises UsageError.
    """
    sizes: dict[str, int] = {}
    for entry in filter(None, (part.strip() for part in re.split(r"[\s,]+", re.sub(r"\s*=\s*", "=", text or "")))):
        name, equals, number = (part.strip() for part in entry.rpartition("="))
        if not equals or not number.isdecimal() or int(number) < 1:
            raise UsageError(
                f"--edge-shape is AXIS=SIZE,..., as in seq=128,height=224, and sizes are whole numbers from 1 on; not '{entry}'."
            )
        axis = _axis_named(name, assessment)
        if sizes.setdefault(axis, int(number)) != int(number):
            raise UsageError(f"--edge-shape gives the axis '{axis}' two sizes, {sizes[axis]} and {number}.")
    return sizes


def _axis_named(name: str, assessment: Assessment) -> str:
    if name in assessment.dynamic_axes:
        return name
    given, _, number = name.rpartition(":")
    spec = next((spec for spec in assessment.inputs if spec.name == given), None)
    if spec is None or not number.isdecimal() or int(number) >= len(spec.shape):
        raise UsageError(f"--edge-shape: {unknown('dynamic axis', name, assessment.dynamic_axes)}")
    axis = spec.shape[int(number)]
    if isinstance(axis, int):
        raise UsageError(
            f"--edge-shape: axis {number} of the input '{given}' is always {axis}; only dynamic axes have a size to choose."
        )
    return axis


def sizes_without_data(assessment: Assessment, given: Mapping[str, int]) -> dict[str, int]:
    """Dynamic axis -> size: as ``given``, else the smallest sensible one (``SMALLEST``).

    By the axis' name: batch 1, samples (of sound) 16000, sequence 16, height and width 64, channels 3; the sum for a name like ``past + sequence``. Else by its place: first 1; of inputs
    of rank 4 and more, the last two 64 (where the last has a fixed size up to 4, channels, the two before it); any other 16. An axis has the same size in all inputs.
    """
    sizes = dict(given)
    for spec in assessment.inputs:
        for place, axis in enumerate(spec.shape):
            if isinstance(axis, str) and " + " not in axis:
                sizes.setdefault(axis, _smallest(spec, place, axis))
    for axis in assessment.dynamic_axes:
        if axis not in sizes:
            parts = [part.strip() for part in axis.split(" + ")]
            sizes[axis] = sum(int(part) if part.isdecimal() else sizes.get(part, SMALLEST["other"]) for part in parts)
    return sizes


_BY_NAME: Final = {
    "batch": re.compile(r"batch|^(n|b|bs|bsz)$"),
    "samples": re.compile(r"sample"),
    "sequence": TIME,
    "spatial": re.compile(r"height|width|rows|cols|^[hw]$"),
    "channels": re.compile(r"chan|^c$"),
}


def _smallest(spec: TensorSpec, place: int, axis: str) -> int:
    if axis != f"{spec.name}:{place}":
        for kind, pattern in _BY_NAME.items():
            if pattern.search(axis.lower()):
                return SMALLEST[kind]
    if place == 0:
        return SMALLEST["batch"]
    last = spec.shape[-1]
    from_end = len(spec.shape) - place - (isinstance(last, int) and last <= 4)
    if len(spec.shape) >= 4 and from_end in (1, 2):
        return SMALLEST["spatial"]
    return SMALLEST["other"]


def made_up(
    assessment: Assessment, given: Mapping[str, int] | None = None, items: int = 4, seed: int = 0
) -> dict[str, NDArray[Any]]:
    """Inputs to time calls on where there is no data, as whole calls; they prove nothing about accuracy.

    Real numbers are standard normal. Whole numbers and booleans are ones in masks, 0, 1, 2, ... along the last axis in positions, the sequence's length in lengths
    (all by the input's name), 0 to 255 in images of bytes, else 0 or 1, because an embedding may have no more rows.
    """
    rng = np.random.default_rng(seed)
    sizes = sizes_without_data(assessment, given or {})
    inputs = {}
    for spec in assessment.inputs:
        shape = (items, *(sizes[axis] if isinstance(axis, str) else axis for axis in spec.shape))
        dtype, name = np.dtype(spec.dtype), spec.name.lower()
        if dtype.kind in "fc":
            drawn: NDArray[Any] = rng.standard_normal(shape)
        elif "mask" in name:
            drawn = np.ones(shape)
        elif "position" in name and spec.shape:
            drawn = np.broadcast_to(np.arange(shape[-1]), shape)
        elif "len" in name:
            drawn = np.full(
                shape, next((sizes[axis] for axis in sizes if _BY_NAME["sequence"].search(axis.lower())), 1)
            )
        else:
            drawn = rng.integers(0, 256 if spec.dtype == "uint8" and len(spec.shape) > 2 else 2, shape)
        inputs[spec.name] = drawn.astype(dtype)
    return inputs


# Whether data fit ------------------------------------------------------------------------------------------------------------


def _fitting(found: Mapping[str, NDArray[Any]], spec: TensorSpec, path: Path) -> NDArray[Any]:
    takes = f"the model's input '{spec.name}' takes {spec.dtype} [{', '.join(str(axis) for axis in spec.shape)}]"
    if spec.name not in found:
        has = ", ".join(f"'{name}'" for name in found) or "none"
        raise DatasetError(f"The dataset {path} has no array '{spec.name}', but {takes}. Its arrays: {has}.")
    array = found[spec.name]
    rank = len(spec.shape)
    shape = list(array.shape[1:] if array.ndim > rank else (1, *array.shape[1:]))
    fits = array.ndim in (rank, rank + 1) and array.ndim > 0 and len(shape) == rank
    fits = fits and all(isinstance(a, str) or a == b for a, b in zip(spec.shape, shape, strict=True))
    if not fits:
        raise DatasetError(
            f"The dataset {path}: {takes}, but the array '{spec.name}' has the shape {list(array.shape)}. {_wanted(spec)}"
        )
    if array.ndim == rank and isinstance(spec.shape[0], str) and not has_batch_axis(spec):
        raise DatasetError(
            f"The dataset {path}: {takes}, whose first axis '{spec.shape[0]}' is no batch, but the array '{spec.name}' has no axis more for the items. "
            f"{_wanted(spec)}"
        )
    if array.dtype != np.dtype(spec.dtype):
        raise DatasetError(
            f"The dataset {path}: {takes}, but the array '{spec.name}' is {array.dtype}. Convert it with astype."
        )
    if array.dtype.kind in "fc" and not np.isfinite(array).all():
        raise DatasetError(f"The dataset {path}: the array '{spec.name}' holds NaN or infinity.")
    return array


def _wanted(spec: TensorSpec) -> str:
    """The shapes that an array may have, in a sentence."""
    whole = f"[{', '.join(['items', *(str(axis) for axis in spec.shape)])}]"
    if spec.shape[:1] == (1,) or has_batch_axis(spec):
        single = f"[{', '.join(['items', *(str(axis) for axis in spec.shape[1:])])}]"
        return f"Give {single}, or whole calls as {whole}."
    return f"Give whole calls as {whole}."


def _sizes_in(
    inputs: Mapping[str, NDArray[Any]], assessment: Assessment, whole: frozenset[str], path: Path
) -> dict[str, int]:
    """Dynamic axis -> its size in the calls. Raises DatasetError where inputs disagree."""
    sizes: dict[str, int] = {}
    where: dict[str, str] = {}
    for spec in assessment.inputs:
        array = inputs[spec.name]
        shape = array.shape[1:] if spec.name in whole else (1, *array.shape[1:])
        for axis, size in zip(spec.shape, shape, strict=True):
            if not isinstance(axis, str):
                continue
            if sizes.setdefault(axis, size) != size:
                raise DatasetError(
                    f"The dataset {path}: the model's axis '{axis}' has one size in a call, but it is {sizes[axis]} in the array '{where[axis]}' "
                    f"and {size} in '{spec.name}'. Pad them to the same size."
                )
            where.setdefault(axis, spec.name)
    return sizes


def _digests(inputs: Mapping[str, NDArray[Any]], items: int) -> list[str]:
    digests = []
    for index in range(items):
        running = hashlib.sha256()
        for name in sorted(inputs):
            running.update(name.encode())
            running.update(np.ascontiguousarray(inputs[name][index]).tobytes())
        digests.append(running.hexdigest())
    return digests
