"""Folders of Hugging Face that are no language models: which ones, what they are called with, and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from pytest_edgeai.assess import read_model  # noqa: E402
from pytest_edgeai.errors import ModelError  # noqa: E402
from tests.conversion import folders  # noqa: E402

Make = Callable[[str], Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """The folder of an architecture, made once."""
    root, known = tmp_path_factory.mktemp("folders"), dict[str, Path]()

    def make(architecture: str) -> Path:
        if architecture not in known:
            known[architecture] = folders.make(architecture, root / architecture)
        return known[architecture]

    return make


@pytest.fixture
def copied(made: Make, tmp_path: Path) -> Callable[..., Path]:
    """A copy of a folder of ViT, with other entries in its configuration."""

    def copy(**entries) -> Path:
        folder = shutil.copytree(made("ViTForImageClassification"), tmp_path / "copied")
        config = folder / "config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), **entries}))
        return folder

    return copy


@pytest.mark.parametrize(
    ("architecture", "inputs", "outputs"),
    [
        ("ViTForImageClassification", {"pixel_values": ("batch", 3, 32, 32)}, 4),
        ("ResNetForImageClassification", {"pixel_values": ("batch", 3, 224, 224)}, 4),
        (
            "BertForSequenceClassification",
            dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), ("batch", "sequence")),
            3,
        ),
        ("Wav2Vec2ForSequenceClassification", {"input_values": ("batch", "samples")}, 3),
    ],
)
def test_its_inputs_are_made_from_its_configuration(convert, made: Make, architecture: str, inputs, outputs) -> None:
    path, found = convert(made(architecture), "transformers")
    known = read_model(str(path))

    assert {spec.name: spec.shape for spec in known.inputs} == inputs
    assert {spec.name: spec.shape for spec in known.outputs} == {"logits": ("batch", outputs)}
    assert (found.architecture, found.fixed) == (architecture, {})
    assert found.difference < found.limit / 10


def test_what_its_forward_does_not_take_is_left_out(made: Make) -> None:
    from pytest_edgeai.conversion import folder

    source = folder.read(made("DistilBertForSequenceClassification"))

    assert list(source.inputs) == ["input_ids", "attention_mask"]
    assert source.answer(source.draw({"batch": 3, "sequence": 5}, 1))["logits"].shape == (3, 2)


def test_the_size_of_images_may_be_the_preprocessors(made: Make, tmp_path: Path) -> None:
    from transformers import ResNetConfig

    from pytest_edgeai.conversion import folder

    (tmp_path / "preprocessor_config.json").write_text('{"size": {"height": 48, "width": 64}}')

    assert folder._image(ResNetConfig(), tmp_path) == (48, 64)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"architectures": ["NewForImageClassification"]}, r"it is a NewForImageClassification, which transformers [\d.]+ don't know\. Export it to ONNX yourself"),
        ({"auto_map": {"AutoModel": "code.py--Net"}}, r"it wants code of its own to be run \(auto_map in its config\.json\), which is not done\. Export it"),
        ({"num_labels": 5, "id2label": None}, r"the weight .*classifier.* is missing, or of another shape, for ViTForImageClassification"),
        ({"num_channels": "many"}, r"it can't be loaded by transformers [\d.]+ as ViTForImageClassification"),
        ({"architectures": ["CLIPForImageClassification"]}, r"the weight .* is missing, or of another shape, for CLIPForImageClassification|can't be loaded"),
    ],
)  # fmt: skip
def test_what_cannot_be_loaded_is_told_in_one_sentence(convert, copied, entries, words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        convert(copied(**entries), "transformers")

    assert "\n" not in str(caught.value)


def test_pickles_are_not_read(convert, copied) -> None:
    folder = copied()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")

    with pytest.raises(
        ModelError, match=r"its weights as pickles alone \(pytorch_model\.bin\), which run .* save_pretrained"
    ):
        convert(folder, "transformers")


def test_an_architecture_with_other_inputs_says_what_to_do(convert, copied, monkeypatch) -> None:
    import transformers

    monkeypatch.setattr(transformers.ViTForImageClassification, "main_input_name", "spectral_cube")

    with pytest.raises(
        ModelError, match=r"what to call ViTForImageClassification with \(spectral_cube\) isn't known\. Export it"
    ):
        convert(copied(), "transformers")
