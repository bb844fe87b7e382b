"""Checkpoints: weights of every dtype and in shards are read, and damaged or foreign files are told in a sentence."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_edgeai.errors import ModelError
from pytest_edgeai.language.checkpoint import Checkpoint
from tests.language import checkpoints

WEIGHTS = {
    "b": np.array([[1.5, -2.25], [3.0, 1e-3]], np.float32),
    "a": np.array([0.1, -7.0, 65504.0], np.float32),
}


@pytest.mark.parametrize(("dtype", "precision"), [("F32", 0.0), ("F16", 2**-11), ("BF16", 2**-7)])
def test_weights_are_read_in_float32(dtype: str, precision: float, tmp_path: Path) -> None:
    checkpoint = Checkpoint(checkpoints.save(tmp_path, checkpoints.LLAMA, WEIGHTS, dtype))

    assert list(checkpoint.tensors) == ["a", "b"]
    for name, expected in WEIGHTS.items():
        assert checkpoint[name].dtype == np.float32
        np.testing.assert_allclose(checkpoint[name], expected, rtol=precision)
    assert (checkpoint.parameters, checkpoint.family) == (7, "llama")
    assert checkpoint.dtype == {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}[dtype]


def test_rows_are_read_alone(tmp_path: Path) -> None:
    checkpoint = Checkpoint(checkpoints.save(tmp_path, checkpoints.LLAMA, WEIGHTS, "F16"))

    assert checkpoint.rows("b", np.array([1, 1, 0]))[:, 0].tolist() == [3.0, 3.0, 1.5]
    assert checkpoint.rows("b", slice(1, 9)).shape == (1, 2)


def test_shards_are_read_and_what_the_index_does_not_name_is_not(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, checkpoints.LLAMA, {})
    (tmp_path / "model.safetensors").unlink()
    files = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    for name, file in files.items():
        checkpoints.save_weights(tmp_path / file, {name: WEIGHTS[name]})
    checkpoints.save_weights(tmp_path / "consolidated.safetensors", WEIGHTS)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))

    checkpoint = Checkpoint(tmp_path)

    assert checkpoint["a"][1] == -7
    assert {tensor.file for tensor in checkpoint.tensors.values()} == set(files.values())


@pytest.mark.parametrize(
    ("index", "told"),
    [
        ('{"weight_map": {"a": "../../etc/passwd"}}', "outside of its folder"),
        ('{"weight_map": {"a": 3}}', "outside of its folder"),
        ('{"weight_map": {"a": "gone.safetensors"}}', "it lacks gone.safetensors"),
        ("[]", "can't be read"),
        ("{", "can't be read"),
    ],
)
def test_an_index_that_is_wrong_is_told(index: str, told: str, tmp_path: Path) -> None:
    checkpoints.save(tmp_path, checkpoints.LLAMA, WEIGHTS)
    (tmp_path / "model.safetensors.index.json").write_text(index)

    with pytest.raises(ModelError, match=told):
        Checkpoint(tmp_path)


def test_a_weight_in_two_files_is_told(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, checkpoints.LLAMA, {"a": WEIGHTS["a"]})
    checkpoints.save_weights(tmp_path / "more.safetensors", {"a": WEIGHTS["a"]})
    both = {"a": "model.safetensors", "b": "more.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": both}))

    with pytest.raises(ModelError, match="the weight a is in two files"):
        Checkpoint(tmp_path)


def test_a_folder_without_weights_or_configuration_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        Checkpoint(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="no weights"):
        Checkpoint(tmp_path)
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(ModelError, match="pickles may run code"):
        Checkpoint(tmp_path)


@pytest.mark.parametrize("config", ["[1]", "{", "", "\x00"])
def test_a_configuration_that_is_none_is_told(config: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(config)

    with pytest.raises(ModelError, match=r"config\.json"):
        Checkpoint(tmp_path)


def test_weights_that_are_quantized_already_are_told(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, checkpoints.LLAMA, WEIGHTS)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes().replace(b'"F32"', b'"F8 "'))

    with pytest.raises(ModelError, match="aren't quantized yet"):
        Checkpoint(tmp_path)


def test_a_pointer_of_git_lfs_is_told(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, checkpoints.LLAMA, WEIGHTS)
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n")

    with pytest.raises(ModelError, match="git lfs pull"):
        Checkpoint(tmp_path)


def test_a_name_that_is_not_there_is_told(tmp_path: Path) -> None:
    checkpoint = Checkpoint(checkpoints.save(tmp_path, checkpoints.LLAMA, WEIGHTS))

    with pytest.raises(ModelError, match=r"no weight model\.norm"):
        checkpoint["model.norm"]


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_whatever_is_damaged_is_an_error_or_read_in_full(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    file = checkpoints.save(folder, checkpoints.LLAMA, WEIGHTS) / "model.safetensors"
    whole = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])

    told = ""
    try:
        shapes = {
            name: Checkpoint(folder).raw(name).shape == tensor.shape
            for name, tensor in Checkpoint(folder).tensors.items()
        }
    except ModelError as error:
        told, shapes = str(error), {}

    assert all(shapes.values())
    assert not told or str(file) in told
