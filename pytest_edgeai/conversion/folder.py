"""A folder of a model that Hugging Face's transformers saved, and that is no language model, in a worker.

The class is transformers' own, and the weights are safetensors: no code of the folder is run, and no pickle is read.
"""

import dataclasses
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pytest_edgeai.assess import files
from pytest_edgeai.conversion import function
from pytest_edgeai.conversion.source import BATCH, INSTEAD, Axes, Draw, Source, said
from pytest_edgeai.errors import ModelError

TOKENS: Final = 16
"""Of a text that the model is recorded with."""
SAMPLES: Final = 16000
"""Of a sound: a second, as most models are made for 16 kHz."""
SIDE: Final = 224
"""Pixels of an image whose size neither the model's configuration nor that of its preprocessor tells."""


def read(path: Path) -> Source:
    """The model, with inputs made from its configuration. Raises ModelError."""
    architecture = files.architecture_of(path)
    config = json.loads((path / files.CONFIG).read_bytes())
    if config.get("auto_map"):
        raise ModelError(
            f"it wants code of its own to be run (auto_map in its {files.CONFIG}), which is not done. {INSTEAD}"
        )
    model = _loaded(path, architecture)
    found = _fed(model, path)
    if found is None:
        raise ModelError(f"what to call {architecture} with ({model.main_input_name}) isn't known. {INSTEAD}")
    draw, sizes, axes = found
    inputs = draw(sizes, 0)
    plain = function.of(model, inputs)
    source = dataclasses.replace(plain, draw=draw, axes=axes, architecture=architecture, fixed="")
    try:
        source.answer(inputs)
    except Exception as error:
        shapes = ", ".join(f"{one} {list(tensor.shape)}" for one, tensor in inputs.items())
        raise ModelError(
            f"{architecture} can't be called with what its configuration tells ({shapes}): {said(error)}. {INSTEAD}"
        ) from error
    return source


def _loaded(path: Path, architecture: str) -> Any:
    """In float32 and eval mode."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    found: Any = getattr(transformers, architecture, None)
    known = isinstance(found, type) and issubclass(found, transformers.PreTrainedModel)
    if not known:
        raise ModelError(f"it is a {architecture}, which transformers {transformers.__version__} don't know. {INSTEAD}")
    inside = [file.name for file in path.iterdir()]
    if not any(file.endswith(".safetensors") for file in inside):
        pickles = sorted(file for file in inside if file.endswith(files.PICKLES))
        told = (
            f"its weights as pickles alone ({pickles[0]}), which run whatever code is in them when they are read"
            if pickles
            else "no weights"
        )
        raise ModelError(f"it holds {told}. Save it with save_pretrained, which writes safetensors.")
    try:
        model, told = found.from_pretrained(
            path,
            dtype=torch.float32,
            attn_implementation="eager",
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # told below, by name
        )
    except Exception as error:
        raise ModelError(
            f"it can't be loaded by transformers {transformers.__version__} as {architecture} ({said(error)}). Is the download complete?"
        ) from error
    # transformers fill up what is lacking with random numbers.
    if lacking := sorted([*told["missing_keys"], *(key for key, *_ in told["mismatched_keys"])]):
        raise ModelError(f"the weight {lacking[0]} is missing, or of another shape, for {architecture}.")
    # Fields that are asked for by options would be outputs, too.
    for option in ("output_hidden_states", "output_attentions", "use_cache"):
        if getattr(model.config, option, False):
            setattr(model.config, option, False)
    return model


def _fed(model: Any, path: Path) -> tuple[Draw, dict[str, int], Axes] | None:
    """How to draw its inputs, the sizes to record it with, and its dynamic axes; ``None`` where that isn't known."""
    config, main = model.config, str(model.main_input_name)
    if main == "pixel_values":
        height, width = _image(config, path)
        shape = [int(getattr(config, "num_channels", 3)), height, width]
        return _real(main, shape, {}), {BATCH: 1}, {main: {0: BATCH}}
    if main == "input_ids" and isinstance(getattr(config, "vocab_size", None), int):
        names = [one for one in ("input_ids", "attention_mask", "token_type_ids") if _takes(model, one)]
        if int(getattr(config, "type_vocab_size", 0) or 0) < 2:  # one type tells nothing, and tokenizers don't give it
            names = [one for one in names if one != "token_type_ids"]
        longest = int(getattr(config, "max_position_embeddings", 0) or TOKENS + 2)
        sizes = {BATCH: 1, "sequence": max(2, min(TOKENS, longest - 2))}
        return _text(names, config), sizes, {one: {0: BATCH, 1: "sequence"} for one in names}
    if main == "input_values" and isinstance(getattr(config, "num_mel_bins", None), int):
        shape = [int(getattr(config, "max_length", 1024)), config.num_mel_bins]  # a spectrogram
        return _real(main, shape, {}), {BATCH: 1}, {main: {0: BATCH}}
    if main == "input_values":
        return _real(main, [SAMPLES], {1: "samples"}), {BATCH: 1, "samples": SAMPLES}, {main: {0: BATCH, 1: "samples"}}
    return None


def _takes(model: Any, name: str) -> bool:
    return name in inspect.signature(model.forward).parameters


def _image(config: Any, path: Path) -> tuple[int, int]:
    """Height and width: the configuration's, else the preprocessor's."""
    told: Any = getattr(config, "image_size", None)
    preprocessor = path / "preprocessor_config.json"
    if told is None and preprocessor.is_file():
        given = json.loads(preprocessor.read_bytes())
        told = given.get("crop_size") if given.get("do_center_crop") else given.get("size")
    if isinstance(told, Mapping):
        told = [told.get("height", told.get("shortest_edge", SIDE)), told.get("width", told.get("shortest_edge", SIDE))]
    height, width = told if isinstance(told, list | tuple) else (told or SIDE,) * 2
    return int(height), int(width)


def _real(name: str, shape: list[int], labels: Mapping[int, str]) -> Draw:
    """Normal numbers, as preprocessors bring images and sounds to a mean of 0 and a deviation of 1."""

    def draw(sizes: Mapping[str, int], seed: int) -> dict[str, Any]:
        import torch

        dice = torch.Generator().manual_seed(seed)
        rest = [sizes[labels[axis]] if axis in labels else size for axis, size in enumerate(shape, 1)]
        return {name: torch.randn(sizes[BATCH], *rest, generator=dice)}

    return draw


def _text(names: list[str], config: Any) -> Draw:
    """Any tokens, of which some at the end of the first text are masked."""

    def draw(sizes: Mapping[str, int], seed: int) -> dict[str, Any]:
        import torch

        dice = torch.Generator().manual_seed(seed)
        shape = (sizes[BATCH], sizes["sequence"])
        mask = torch.ones(shape, dtype=torch.long)
        mask[0, -(shape[1] // 3) or shape[1] :] = 0
        drawn = {"attention_mask": mask}
        for name, kinds in (
            ("input_ids", config.vocab_size),
            ("token_type_ids", getattr(config, "type_vocab_size", 1)),
        ):
            drawn[name] = torch.randint(max(1, int(kinds or 1)), shape, generator=dice)
        return {name: drawn[name] for name in names}

    return draw
