"""GGUF files: what is written of a checkpoint is read again, and damaged or foreign files are told in a sentence."""

import random
from pathlib import Path

import numpy as np
import pytest

from pytest_edgeai.errors import EdgeError, ModelError, UnsupportedError
from pytest_edgeai.language import gguf_file
from pytest_edgeai.language.checkpoint import Checkpoint
from tests.language import checkpoints

gguf = pytest.importorskip("gguf")
pytest.importorskip("tokenizers")


@pytest.fixture(scope="module", params=checkpoints.CONFIGS)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = checkpoints.make(tmp_path_factory.mktemp("source") / request.param, request.param)
    checkpoints.add_tokenizer(folder)
    return Checkpoint(folder)


def test_what_is_written_of_a_checkpoint_is_read_again(checkpoint: Checkpoint, tmp_path: Path) -> None:
    gguf_file.write(checkpoint, tmp_path / "model.gguf", "gpt-2")

    found, parameters, rows = gguf_file.facts(tmp_path / "model.gguf")

    stretched = "llama3" in checkpoint.folder.name
    tied = bool(checkpoint.config["tie_word_embeddings"])
    assert (found.layers, found.hidden, found.heads) == (checkpoints.LAYERS, checkpoints.HIDDEN, checkpoints.HEADS)
    assert (found.vocabulary, found.context) == (checkpoints.VOCABULARY, checkpoints.CONTEXT)
    assert found.kv_heads == checkpoint.config["num_key_value_heads"]
    assert (found.dtype, found.tied, found.tokenizer) == ("float16", tied, "gpt2")
    assert parameters == checkpoint.parameters + stretched * checkpoints.HEAD_SIZE // 2
    assert rows == {tensor.shape[1] for tensor in checkpoint.tensors.values() if len(tensor.shape) == 2}


def test_a_vocabulary_alone_has_no_weights(checkpoint: Checkpoint, tmp_path: Path) -> None:
    gguf_file.write(checkpoint, tmp_path / "model.gguf", "gpt-2", vocabulary_only=True)

    with pytest.raises(ModelError, match="no embeddings of tokens"):
        gguf_file.facts(tmp_path / "model.gguf")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = checkpoints.make(tmp_path_factory.mktemp("damaged") / "llama", "llama")
    checkpoints.add_tokenizer(folder)
    gguf_file.write(Checkpoint(folder), folder / "model.gguf", "gpt-2")
    return (folder / "model.gguf").read_bytes()


def test_whatever_is_damaged_is_one_sentence_or_read(written: bytes, tmp_path: Path) -> None:
    draw, told = random.Random(1), set()
    file = tmp_path / "model.gguf"
    for _ in range(400):
        content = bytearray(written)
        for _ in range(draw.randint(1, 3)):
            content[draw.randrange(4, 2000)] = draw.randrange(256)
        file.write_bytes(content[: draw.choice([len(content), draw.randrange(4, len(content))])])
        try:
            gguf_file.facts(file)
        except EdgeError as error:
            told.add(str(error))

    assert len(told) > 5
    assert all(str(file) in sentence and "\n" not in sentence for sentence in told)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"PK\x03\x04", "is no GGUF file: it begins with b'PK"),
        (b"", "is no GGUF file"),
        (b"GGUF", "ends before what its header announces"),
        (b"GGUF" + b"\xff" * 60, "can't be read as GGUF"),
    ],
)
def test_what_is_no_gguf_file_is_told(content: bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(content)

    with pytest.raises(ModelError, match=sentence):
        gguf_file.facts(tmp_path / "model.gguf")


@pytest.mark.parametrize(
    ("tokenizer", "error", "sentence"),
    [
        (None, ModelError, r"has no tokenizer\.json"),
        ("{", ModelError, "can't be read as a tokenizer of 80 tokens"),
        ('{"model": {"type": "Unigram"}}', UnsupportedError, "a tokenizer of the kind Unigram"),
        ('{"model": {"type": "BPE", "byte_fallback": true}}', UnsupportedError, "with bytes to fall back to"),
        (
            '{"model": {"type": "BPE", "vocab": {"a": 80}, "merges": []}, "added_tokens": []}',
            ModelError,
            "of 80 tokens",
        ),
    ],
)
def test_a_tokenizer_that_can_not_be_written_is_told(
    tokenizer: str | None, error: type[EdgeError], sentence: str, tmp_path: Path
) -> None:
    folder = checkpoints.make(tmp_path / "llama", "llama")
    if tokenizer is not None:
        (folder / "tokenizer.json").write_text(tokenizer)

    with pytest.raises(error, match=sentence):
        gguf_file.write(Checkpoint(folder), tmp_path / "model.gguf", "gpt-2")


def test_rows_of_a_head_are_brought_into_turns() -> None:
    rows = np.arange(8.0, dtype=np.float32)  # two heads of four

    assert gguf_file._interleaved(rows, 2).tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    assert gguf_file._interleaved(rows[:, None], 2).shape == (8, 1)
