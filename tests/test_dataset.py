"""The dataset: what is in a part, what is refused, and what workers get of it."""

import os
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pytest_edgeai import arrays
from pytest_edgeai.dataset import (
    CALIBRATION,
    CONFIRMATION,
    EVALUATION,
    SELECTION,
    SHARES,
    TIMED_ITEMS,
    Dataset,
    ItemFiles,
    batched_outputs,
    given_sizes,
    made_up,
    read,
    sizes_without_data,
    split,
)
from pytest_edgeai.errors import DatasetError, UsageError
from pytest_edgeai.records import Assessment, TensorSpec

DIGESTS = ["ce810488f2e8b84c", "8ba220a3fa87a16b"]
IMAGE = TensorSpec(name="image", dtype="float32", shape=("batch", 1, 4, 4))
MASK = TensorSpec(name="mask", dtype="int64", shape=("batch", "length"))


def spec(name: str, *shape: int | str, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape)


def assessment(*inputs: TensorSpec, outputs: tuple[TensorSpec, ...] = ()) -> Assessment:
    return Assessment(
        digest="",
        bytes=0,
        parameters=0,
        macs=None,
        architecture="dense",
        ops={},
        inputs=inputs or (IMAGE,),
        outputs=outputs,
        opset=17,
    )


def images(count: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, 1, 4, 4), dtype=np.float32)


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Dataset]:
    """A dataset with these arrays, as read from a file."""

    def make(*inputs: TensorSpec, **named: NDArray[Any]) -> Dataset:
        np.savez(tmp_path / "items.npz", **named)  # type: ignore[arg-type]
        return read(tmp_path / "items.npz", assessment(*inputs))

    return make


# The split -------------------------------------------------------------------------------------------------------------------


def test_every_item_is_in_exactly_one_part_near_its_share(made: Callable[..., Dataset]) -> None:
    data = made(image=images(5000))

    together = np.sort(np.concatenate(list(data.parts.values())))
    assert together.tolist() == list(range(5000))
    assert {part: len(indexes) / 50 for part, indexes in data.parts.items()} == pytest.approx(SHARES, abs=3)


def test_adding_items_moves_none(made: Callable[..., Dataset]) -> None:
    image = images(2000)
    before = made(image=image[:1000])

    after = made(image=image)

    assert {part: [i for i in after.parts[part].tolist() if i < 1000] for part in SHARES} == {
        part: before.parts[part].tolist() for part in SHARES
    }


def test_the_order_of_the_items_does_not_decide(made: Callable[..., Dataset]) -> None:
    image = images(500)
    order = np.random.default_rng(5).permutation(500)
    before = made(image=image)

    after = made(image=image[order])

    assert {part: sorted(order[after.parts[part]].tolist()) for part in SHARES} == {
        part: before.parts[part].tolist() for part in SHARES
    }


def test_equal_items_stay_together(made: Callable[..., Dataset]) -> None:
    data = made(image=np.concatenate([images(300), images(300)]))

    found = {part: set(indexes.tolist()) for part, indexes in data.parts.items()}
    assert all((index in found[part]) == (index + 300 in found[part]) for part in SHARES for index in range(300))


def test_labels_do_not_decide_where_an_item_is(made: Callable[..., Dataset]) -> None:
    one = made(image=images(200), labels=np.zeros(200, dtype=np.int64))

    other = made(image=images(200), labels=np.arange(200))

    assert one.digests == other.digests


def test_what_evaluation_means_is_selection_and_confirmation_in_order(made: Callable[..., Dataset]) -> None:
    data = made(image=images(400))

    evaluation = data.indexes(EVALUATION)

    assert evaluation.tolist() == sorted({*data.parts[SELECTION].tolist(), *data.parts[CONFIRMATION].tolist()})
    assert not set(evaluation.tolist()) & set(data.indexes(CALIBRATION).tolist())


def test_the_bounds_of_the_shares_are_by_the_digest_alone() -> None:
    marks = {mark: f"{mark:015x}" + "f" * 49 for mark in (0, 19, 20, 49, 50, 99, 100)}

    parts = split(list(marks.values()))

    assert {part: [list(marks)[index] for index in indexes] for part, indexes in parts.items()} == {
        CALIBRATION: [0, 19, 100],
        SELECTION: [20, 49],
        CONFIRMATION: [50, 99],
    }


def test_items_of_several_inputs_differ_by_any_of_them(made: Callable[..., Dataset]) -> None:
    same = np.repeat(images(1), 2, axis=0)

    data = made(IMAGE, MASK, image=same, mask=np.array([[1, 1], [1, 0]]))

    assert len(data) == 2
    assert data.digests[0] != data.digests[1]


def test_the_digest_of_items_depends_on_them_and_their_order(made: Callable[..., Dataset]) -> None:
    data = made(image=images(10))

    digests = {data.digest(np.array(indexes)) for indexes in ([0, 1], [1, 0], [0, 2], [0], [0, 1])}

    assert len(digests) == 4


# Reading ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["labels", "label", "y"])
def test_labels_are_found_by_their_usual_names(made: Callable[..., Dataset], name: str) -> None:
    data = made(image=images(3), **{name: np.array([5, 6, 7])})

    assert data.labels is not None
    assert data.labels.tolist() == [5, 6, 7]


def test_an_input_named_like_labels_is_an_input(made: Callable[..., Dataset]) -> None:
    data = made(TensorSpec(name="y", dtype="float32", shape=("n", 2)), y=np.ones((3, 2), dtype=np.float32))

    assert data.labels is None
    assert list(data.inputs) == ["y"]


def test_arrays_that_are_no_input_are_left_alone(made: Callable[..., Dataset]) -> None:
    data = made(image=images(3), ids=np.array(["a", "b", "c"]))

    assert list(data.inputs) == ["image"]
    assert data.labels is None


@pytest.mark.parametrize("names", [np.arange(300) // 3, np.char.add("clip ", (np.arange(300) // 3).astype(str))])
def test_items_of_a_group_stay_together(made: Callable[..., Dataset], names: NDArray[Any]) -> None:
    data = made(image=images(300), labels=np.arange(300), groups=names)

    assert data.groups is not None
    homes = [set(data.groups[indexes].tolist()) for indexes in data.parts.values()]
    assert sum(map(len, homes)) == 100
    assert all(homes)
    assert sum(map(len, data.parts.values())) == 300


def test_adding_groups_moves_none(made: Callable[..., Dataset]) -> None:
    few = made(image=images(150), groups=np.arange(150) // 3)

    many = made(image=images(300), groups=np.arange(300) // 3)

    for part, indexes in few.parts.items():
        assert indexes.tolist() == [index for index in many.parts[part].tolist() if index < 150]


def test_an_input_named_groups_is_an_input(made: Callable[..., Dataset]) -> None:
    data = made(spec("groups", "batch"), groups=np.zeros(3, dtype=np.float32))

    assert data.groups is None


@pytest.mark.parametrize("groups", [np.arange(2), np.zeros((3, 1), dtype=int), np.array([0.5, 1.5, 2.5])])
def test_groups_that_name_no_group_for_each_item_are_refused(
    made: Callable[..., Dataset], groups: NDArray[Any]
) -> None:
    with pytest.raises(DatasetError, match="it names each of the 3 items' group by a number or a text"):
        made(image=images(3), groups=groups)


def test_dynamic_axes_take_any_size(made: Callable[..., Dataset]) -> None:
    data = made(MASK, mask=np.ones((4, 77), dtype=np.int64))

    assert len(data) == 4


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "shape": (
        {"image": images(3)[:, :, :2]},
        (
            "takes float32 [batch, 1, 4, 4], but the array 'image' has the shape [3, 1, 2, 4]. "
            "Give [items, 1, 4, 4], or whole calls as [items, batch, 1, 4, 4]."
        ),
    ),
    "rank": ({"image": images(3)[:, 0]}, "but the array 'image' has the shape [3, 4, 4]. Give [items, 1, 4, 4]"),
    "more axes": ({"image": images(3)[None, None]}, "but the array 'image' has the shape [1, 1, 3, 1, 4, 4]."),
    "no items' axis": ({"image": np.float32(3)}, "but the array 'image' has the shape []. Give [items, 1, 4, 4]"),
    "dtype": ({"image": images(3).astype(np.float64)}, "but the array 'image' is float64. Convert it with astype."),
    "name": ({"picture": images(3), "other": images(3)}, "has no array 'image', but the model's input 'image' takes"),
    "nothing": ({}, "Its arrays: none."),
    "NaN": (
        {"image": np.where(images(3) > 0, images(3), np.nan).astype(np.float32)},
        "the array 'image' holds NaN or infinity.",
    ),
    "infinity": ({"image": images(3) + np.float32(np.inf)}, "the array 'image' holds NaN or infinity."),
    "empty": ({"image": images(0)}, "is empty: its arrays have 0 items."),
    "few labels": (
        {"image": images(3), "labels": np.arange(2)},
        "has 2 labels for 3 items; there must be one for each, in the same order.",
    ),
    "one label": (
        {"image": images(3), "labels": np.int64(2)},
        "has 1 labels for 3 items; there must be one for each, in the same order.",
    ),
    "objects": (
        {"image": np.array([None, 1, "x"], dtype=object)},
        "Object arrays cannot be loaded when allow_pickle=False",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_one_sentence_that_names_the_file(tmp_path: Path, case: str) -> None:
    named, sentence = WRONG[case]
    path = tmp_path / "items.npz"
    np.savez(path, **named)

    with pytest.raises(DatasetError) as caught:
        read(path, assessment())

    assert str(caught.value).startswith(f"The dataset {path}")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_scalar_for_an_input_of_items_alone_is_refused(made: Callable[..., Dataset]) -> None:
    with pytest.raises(DatasetError, match="has the shape"):
        made(TensorSpec(name="x", dtype="float32", shape=("n",)), x=np.float32(1))


def test_inputs_of_different_lengths_are_refused_with_their_lengths(made: Callable[..., Dataset]) -> None:
    with pytest.raises(DatasetError, match="different numbers of items: 'image' has 3, 'mask' has 2"):
        made(IMAGE, MASK, image=images(3), mask=np.ones((2, 5), dtype=np.int64))


def test_a_file_that_is_not_there_is_refused_with_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"doesn't exist\. Give an \.npz file with one array per model input\.$"):
        read(tmp_path / "items.npz", assessment())


def folder(path: Path) -> None:
    path.mkdir()


def fifo(path: Path) -> None:
    os.mkfifo(path)


def text(path: Path) -> None:
    path.write_text("1, 2, 3\n")


def empty(path: Path) -> None:
    path.touch()


def one_array(path: Path) -> None:
    with path.open("wb") as stream:
        np.save(stream, images(3))


def no_array_inside(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("image", "an image, but as text")


def an_absurd_shape(path: Path) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2305843009213693952, 1, 4, 4), }"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("image.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\0" * 64)


@pytest.mark.parametrize(
    "make", [folder, fifo, text, empty, one_array, no_array_inside, an_absurd_shape], ids=lambda make: make.__name__
)
def test_what_is_no_npz_file_is_refused_with_how_to_write_one(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "items.npz"
    make(path)

    with pytest.raises(DatasetError, match=r"can't be read as an \.npz file \(.+\)\. Write it with numpy\.savez"):
        read(path, assessment())


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed], ids=["stored", "compressed"])
def test_damaged_files_are_refused_or_read_and_nothing_else(tmp_path: Path, write: Callable[..., None]) -> None:
    path = tmp_path / "items.npz"
    write(path, image=images(5), labels=np.arange(5))
    whole, source = path.read_bytes(), random.Random(3)

    outcomes = set()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] = source.randrange(256)
        path.write_bytes(damaged)
        try:
            outcomes.add(type(read(path, assessment())))
        except DatasetError:
            outcomes.add(DatasetError)

    assert outcomes == {Dataset, DatasetError}


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed], ids=["stored", "compressed"])
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, write: Callable[..., None]) -> None:
    path = tmp_path / "items.npz"
    write(path, image=images(5), labels=np.arange(5))
    whole = path.read_bytes()

    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(DatasetError):
            read(path, assessment())


# Whole calls -----------------------------------------------------------------------------------------------------------------

SIGNAL = spec("signal", "time", "batch", 3)


def fed(data: Dataset, tmp_path: Path, *inputs: TensorSpec) -> dict[str, NDArray[Any]]:
    """What the first call is made with."""
    return arrays.read_items(ItemFiles(tmp_path / "files", data, assessment(*inputs)).timed())[0]


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()


def test_an_array_with_one_axis_more_holds_whole_calls(made: Callable[..., Dataset], tmp_path: Path) -> None:
    signal = np.random.default_rng(0).standard_normal((5, 20, 1, 3)).astype(np.float32)

    data = made(SIGNAL, signal=signal)

    assert len(data) == 5
    assert data.sizes == {"time": 20, "batch": 1}
    assert np.array_equal(fed(data, tmp_path, SIGNAL)["signal"], signal[0])


def test_an_array_of_the_inputs_rank_is_fed_an_item_at_a_time(made: Callable[..., Dataset], tmp_path: Path) -> None:
    data = made(MASK, mask=np.arange(10).reshape(2, 5))

    assert data.sizes == {"batch": 1, "length": 5}
    assert fed(data, tmp_path, MASK)["mask"].tolist() == [[0, 1, 2, 3, 4]]


def test_scalars_and_inputs_without_a_batch_stand_beside_batched_ones(
    made: Callable[..., Dataset], tmp_path: Path
) -> None:
    inputs = (IMAGE, spec("threshold"), spec("anchors", 2, 4))

    data = made(*inputs, image=images(3), threshold=np.float32([1, 2, 3]), anchors=np.ones((3, 2, 4), np.float32))

    call = fed(data, tmp_path, *inputs)
    assert {name: array.shape for name, array in call.items()} == {
        "image": (1, 1, 4, 4),
        "threshold": (),
        "anchors": (2, 4),
    }
    assert data.whole == {"threshold", "anchors"}


@pytest.mark.parametrize(
    "dtype",
    ["bool", "float16", "float32", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"],
)
def test_every_numeric_dtype_is_fed_as_it_is(made: Callable[..., Dataset], tmp_path: Path, dtype: str) -> None:
    data = made(spec("x", "n", 2, dtype=dtype), x=np.array([[0, 1], [1, 1]], dtype=dtype))

    assert fed(data, tmp_path, spec("x", "n", 2, dtype=dtype))["x"].dtype == dtype


def test_a_fixed_batch_wants_whole_calls(made: Callable[..., Dataset]) -> None:
    with pytest.raises(
        DatasetError, match=r"takes float32 \[8, 3\], .*shape \[16, 3\]\. Give whole calls as \[items, 8, 3\]\."
    ):
        made(spec("x", 8, 3), x=np.ones((16, 3), np.float32))


def test_a_first_axis_that_is_time_is_no_batch(made: Callable[..., Dataset]) -> None:
    with pytest.raises(
        DatasetError, match=r"first axis 'time' is no batch.* Give whole calls as \[items, time, batch, 3\]"
    ):
        made(SIGNAL, signal=np.ones((5, 20, 3), np.float32))


def test_items_keep_their_digests(made: Callable[..., Dataset]) -> None:
    """They are part of what variants are kept by: should this fail, users' caches and splits change."""
    data = made(IMAGE, MASK, image=np.arange(32, dtype=np.float32).reshape(2, 1, 4, 4), mask=np.ones((2, 3), np.int64))

    assert [digest[:16] for digest in data.digests] == DIGESTS


def test_axes_of_one_name_must_have_one_size(made: Callable[..., Dataset]) -> None:
    ids, mask = spec("ids", "batch", "seq", dtype="int64"), spec("mask", "batch", "seq", dtype="int64")

    with pytest.raises(
        DatasetError,
        match=r"axis 'seq' has one size in a call, but it is 5 in the array 'ids' and 6 in 'mask'\. Pad them",
    ):
        made(ids, mask, ids=np.ones((3, 5), np.int64), mask=np.ones((3, 6), np.int64))


@pytest.mark.parametrize(
    ("inputs", "arrays", "cut"),
    [
        ([IMAGE], {"image": images(3)}, ["logits", "boxes", "summary"]),
        ([spec("image", 1, 1, 4, 4)], {"image": images(3)}, ["boxes", "summary"]),
        ([IMAGE], {"image": images(3)[:, None]}, ["logits", "boxes", "summary"]),
        ([IMAGE], {"image": np.ones((3, 2, 1, 4, 4), np.float32)}, []),
        ([SIGNAL], {"signal": np.ones((3, 20, 1, 3), np.float32)}, []),
    ],
    ids=["items", "a batch of one", "whole calls of one", "whole calls of two", "no batch"],
)
def test_outputs_lose_their_batch_where_items_were_given_one(
    made: Callable[..., Dataset], inputs: list[TensorSpec], arrays: dict[str, NDArray[Any]], cut: list[str]
) -> None:
    outputs = (
        spec("logits", "batch", 4),
        spec("boxes", "boxes:0", 4),
        spec("summary", 1, 9),
        spec("states", "layers", 2),
        spec("loss"),
    )

    found = batched_outputs(assessment(*inputs, outputs=outputs), made(*inputs, **arrays))

    assert found == cut


# Sizes of dynamic axes -------------------------------------------------------------------------------------------------------

IDS = spec("ids", "batch", "seq", dtype="int64")
NAMELESS = spec("image", "image:0", 3, "image:2", "image:3")


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        (None, {}),
        ("", {}),
        ("seq=128", {"seq": 128}),
        (" seq = 128 , batch=1,", {"seq": 128, "batch": 1}),
        ("image:2=224,image:3=320", {"image:2": 224, "image:3": 320}),
        ("ids:1=7", {"seq": 7}),
        ("seq=7,ids:1=7", {"seq": 7}),
    ],
)
def test_sizes_are_given_by_the_axis_name_or_its_place(text: str | None, sizes: dict[str, int]) -> None:
    assert given_sizes(text, assessment(IDS, NAMELESS)) == sizes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sq=128", "No dynamic axis named 'sq'. Did you mean 'seq'? Known: batch, image:0, image:2, image:3, seq."),
        ("image:9=3", "No dynamic axis named 'image:9'."),
        ("images:2=3", "Did you mean 'image:2'?"),
        ("image:1=4", "axis 1 of the input 'image' is always 3; only dynamic axes have a size to choose."),
        ("128", "--edge-shape is AXIS=SIZE,..., as in seq=128,height=224"),
        ("seq=0", "sizes are whole numbers from 1 on; not 'seq=0'"),
        ("seq=-1", "not 'seq=-1'"),
        ("seq=1.5", "not 'seq=1.5'"),
        ("seq=1,ids:1=2", "gives the axis 'seq' two sizes, 1 and 2"),
    ],
)
def test_a_wrong_size_is_a_usage_error(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        given_sizes(text, assessment(IDS, NAMELESS))

    assert words in str(caught.value)


def test_a_size_that_contradicts_the_data_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "items.npz", mask=np.ones((4, 77), np.int64))

    assert read(tmp_path / "items.npz", assessment(MASK), {"length": 77}).sizes["length"] == 77
    with pytest.raises(DatasetError, match="has 77 for the axis 'length', and --edge-shape says 128"):
        read(tmp_path / "items.npz", assessment(MASK), {"length": 128})


@pytest.mark.parametrize(
    ("inputs", "sizes"),
    [
        ([IDS], {"batch": 1, "seq": 16}),
        ([spec("x", "N", "C", "H", "W")], {"N": 1, "C": 3, "H": 64, "W": 64}),
        ([NAMELESS], {"image:0": 1, "image:2": 64, "image:3": 64}),
        ([spec("image", "image:0", "image:1", "image:2", 3)], {"image:0": 1, "image:1": 64, "image:2": 64}),
        ([spec("x", "x:0", "x:1", "x:2", "x:3")], {"x:0": 1, "x:1": 16, "x:2": 64, "x:3": 64}),
        ([SIGNAL], {"time": 16, "batch": 1}),
        ([spec("waveform", "batch", "samples")], {"batch": 1, "samples": 16000}),
        ([spec("x", "x:0", "x:1")], {"x:0": 1, "x:1": 16}),
        (
            [
                spec("past.0", "batch", 4, "past_length", 32),
                spec("mask", "batch", "past_length + sequence", dtype="int64"),
            ],
            {"batch": 1, "past_length": 16, "past_length + sequence": 32},
        ),
        ([spec("a", "rows", 4), spec("b", "batch", "rows")], {"rows": 64, "batch": 1}),
    ],
)
def test_sizes_that_nobody_gave_are_the_smallest_sensible_ones(inputs: list[TensorSpec], sizes: dict[str, int]) -> None:
    assert sizes_without_data(assessment(*inputs), {}) == sizes


def test_a_given_size_is_taken_for_every_input_that_has_the_axis() -> None:
    rows = made_up(assessment(IDS, spec("mask", "batch", "seq", dtype="int64"), spec("x", "seq", 4)), {"seq": 5})

    assert {name: array.shape for name, array in rows.items()} == {"ids": (4, 1, 5), "mask": (4, 1, 5), "x": (4, 5, 4)}


def test_made_up_inputs_have_the_models_dtypes_and_plausible_values() -> None:
    inputs = [
        IDS,
        spec("attention_mask", "batch", "seq", dtype="int64"),
        spec("padding_mask", "batch", "seq", dtype="bool"),
        spec("position_ids", "batch", "seq", dtype="int32"),
        spec("lengths", "batch", dtype="int64"),
        spec("photo", "batch", 8, 8, 3, dtype="uint8"),
        spec("half", 1, 2, dtype="float16"),
        spec("scale", dtype="float64"),
        spec("on", dtype="bool"),
    ]

    rows = made_up(assessment(*inputs), {"seq": 9}, items=6)

    assert {name: array.dtype.name for name, array in rows.items()} == {each.name: each.dtype for each in inputs}
    assert {name: array.shape[0] for name, array in rows.items()} == dict.fromkeys(rows, 6)
    assert set(rows["ids"].ravel().tolist()) == {0, 1}
    assert rows["attention_mask"].all()
    assert rows["padding_mask"].all()
    assert rows["position_ids"][5, 0].tolist() == list(range(9))
    assert rows["lengths"].tolist() == [[9]] * 6
    assert rows["photo"].max() > 200
    assert rows["scale"].shape == rows["on"].shape == (6,)
    assert np.isfinite(rows["half"]).all()


# What workers get ------------------------------------------------------------------------------------------------------------


def test_made_up_inputs_are_the_same_each_time_and_differ_between_items() -> None:
    one, other = made_up(assessment()), made_up(assessment())

    assert np.array_equal(one["image"], other["image"])
    assert not np.array_equal(one["image"][0], one["image"][1])


def test_the_items_of_a_part_are_written_once_without_labels(made: Callable[..., Dataset], tmp_path: Path) -> None:
    data = made(image=images(200), labels=np.arange(200))
    files = ItemFiles(tmp_path, data, assessment())

    path = files.part(CONFIRMATION)
    written = path.stat().st_mtime_ns
    again = files.part(CONFIRMATION)

    found = arrays.read(path)
    assert list(found) == ["image"]
    assert np.array_equal(found["image"], images(200)[data.parts[CONFIRMATION]][:, None])
    assert (again, again.stat().st_mtime_ns) == (path, written)


def test_calls_are_timed_on_the_first_items(made: Callable[..., Dataset], tmp_path: Path) -> None:
    files = ItemFiles(tmp_path, made(image=images(200)), assessment())

    assert np.array_equal(arrays.read(files.timed())["image"], images(200)[:TIMED_ITEMS, None])


def test_few_items_are_all_timed(made: Callable[..., Dataset], tmp_path: Path) -> None:
    files = ItemFiles(tmp_path, made(image=images(3)), assessment())

    assert len(arrays.read(files.timed())["image"]) == 3


def test_without_data_calls_are_timed_on_made_up_items_and_there_are_no_parts(tmp_path: Path) -> None:
    files = ItemFiles(tmp_path, None, assessment())

    timed = arrays.read(files.timed())

    assert timed["image"].shape == (4, 1, 1, 4, 4)
    with pytest.raises(DatasetError, match="There is no dataset"):
        files.part(CALIBRATION)
