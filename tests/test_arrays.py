"""Arrays: items on disk, and what is finite."""

import gc
import zipfile
from pathlib import Path

import numpy as np
import psutil
import pytest

from pytest_edgeai import arrays


def test_what_is_written_is_read_with_names_dtypes_and_values(tmp_path: Path) -> None:
    written = {
        "image": np.arange(12, dtype=np.float16).reshape(3, 4),
        "mask:0": np.array([[True], [False], [True]]),
        "a/b": np.array([1, 2, 3], dtype=np.uint8),
        "empty": np.zeros((3, 0), dtype=np.int64),
    }

    arrays.write(tmp_path / "items.npz", written)
    found = arrays.read(tmp_path / "items.npz")

    assert {name: (array.dtype, array.tolist()) for name, array in found.items()} == {
        name: (array.dtype, array.tolist()) for name, array in written.items()
    }


@pytest.mark.parametrize("name", ["file", "allow_pickle", "arr_0"])
def test_an_input_may_have_any_name(tmp_path: Path, name: str) -> None:
    arrays.write(tmp_path / "items.npz", {name: np.arange(3)})

    assert {name: array.tolist() for name, array in arrays.read(tmp_path / "items.npz").items()} == {name: [0, 1, 2]}


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_a_file_that_cannot_be_read_is_closed(tmp_path: Path) -> None:
    (tmp_path / "items.npz").write_bytes(b"PK\x03\x04 and no more")
    before = psutil.Process().num_fds()

    with pytest.raises(zipfile.BadZipFile) as caught:
        arrays.read(tmp_path / "items.npz")
    after = psutil.Process().num_fds()
    del caught
    gc.collect()

    assert after == before


def test_items_are_whole_calls_that_lie_in_one_piece(tmp_path: Path) -> None:
    image = np.asfortranarray(np.arange(24, dtype=np.float32).reshape(4, 1, 3, 2))
    arrays.write(tmp_path / "items.npz", {"image": image, "scale": np.arange(4.0), "flag": np.eye(4, dtype=np.bool_)})

    items = arrays.read_items(tmp_path / "items.npz")

    assert [item["image"].shape for item in items] == [(1, 3, 2)] * 4
    assert [item["scale"].tolist() for item in items] == [0.0, 1.0, 2.0, 3.0]
    assert all(isinstance(array, np.ndarray) and array.flags.c_contiguous for item in items for array in item.values())
    assert np.array_equal(np.stack([item["image"] for item in items]), image)


def test_calls_are_joined_along_their_first_axes_and_one_call_stays_as_it_is() -> None:
    calls = [{"image": np.full((1, 2), number), "scale": np.array(number)} for number in range(2)]

    joined = arrays.stack([{"image": call["image"]} for call in calls])

    assert joined["image"].tolist() == [[0, 0], [1, 1]]
    assert arrays.stack(calls[1:])["scale"].shape == ()


def test_python_objects_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "items.npz", image=np.array([{}], dtype=object))

    with pytest.raises(ValueError, match="allow_pickle=False"):
        arrays.read(tmp_path / "items.npz")


@pytest.mark.parametrize(
    ("outputs", "name"),
    [
        ({"a": np.ones(3), "b": np.array([1, np.nan])}, "b"),
        ({"a": np.array([-np.inf], dtype=np.float16), "b": np.array([np.nan])}, "a"),
        ({"a": np.array([1 + 1j * np.inf])}, "a"),
        ({"a": np.array(np.nan)}, "a"),
        ({"a": np.ones(3), "b": np.array([2**63 - 1]), "c": np.array([True]), "d": np.array(["nan"])}, None),
        ({"a": np.zeros((0, 4))}, None),
        ({}, None),
    ],
    ids=["NaN", "infinity", "complex", "a number", "whole numbers", "empty", "none"],
)
def test_the_first_output_that_is_not_finite_is_named(outputs: dict[str, np.ndarray], name: str | None) -> None:
    assert arrays.not_finite(outputs) == name
