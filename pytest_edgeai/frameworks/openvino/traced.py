"""Decoders by way of PyTorch: models that are not put together here are run by Hugging Face's transformers, and what they compute is recorded.

The network has the inputs, the output and the states of :mod:`pytest_edgeai.frameworks.openvino.decoder`'s. What it is held against is the forward pass of
transformers, in float32, without a cache, and by its plainest way to attend, which is another than is recorded wherever a model can attend by PyTorch's operator.
"""

import contextlib
import importlib.util
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from pytest_edgeai.errors import ModelError, UnsupportedError
from pytest_edgeai.frameworks.openvino import decoder, runtime
from pytest_edgeai.language import agreement
from pytest_edgeai.language.checkpoint import CONTEXT, VOCABULARY, Checkpoint, size
from pytest_edgeai.language.decoder import INSTEAD, is_mixture
from pytest_edgeai.records import Assessment

DISTRIBUTIONS: Final = ("torch", "transformers")
"""What it takes beside OpenVINO."""
EXTRA: Final = "openvino-torch"
WINDOWS: Final = ("sliding_window", "attention_chunk_size")
"""What configurations call the number of tokens that a layer attends to."""
OF_LENGTH: Final = ("dynamic", "longrope")
"""Kinds of positions that change when a text gets longer than some length."""
_BEFORE, _NOW = 3, 5
"""Tokens of the example: two numbers that nothing else in a model is by chance, so that neither is taken for a constant."""


class _Kept(NamedTuple):
    """What a layer keeps of each token."""

    heads: int
    key: int
    """Numbers of a head's key."""
    value: int


def refusal(assessment: Assessment) -> str | None:
    """Why a model that is not put together here isn't recorded either, as far as is known without reading it; ``None`` where it is or may be."""
    why, facts = assessment.why_not_converted, assessment.language
    if why is None or facts is None or facts.experts:
        return why
    if facts.other_layers:
        kinds = " and ".join(facts.other_layers)
        return f"{why} Nor does it come to OpenVINO by way of PyTorch: its layers of the kind {kinds} keep something else than keys and values."
    lacking = _lacking()
    return f"{why} Or it {lacking}" if lacking else None


def checked(checkpoint: Checkpoint, check: Callable[[agreement.Answers, Any], None]) -> Any:
    """The ``openvino.Model``, after ``check`` was given what the model itself says and a network that was recorded in the same way.

    Where layers attend to a window, it is a short one for the check: one that is longer than the text would hide what goes wrong with it.

    Raises ModelError for weights that don't make a whole model, and UnsupportedError for a model that transformers don't know or OpenVINO can't record.
    """
    name = checkpoint.folder.name
    if is_mixture(checkpoint):
        raise UnsupportedError(
            f"{name} is a mixture of experts, of which OpenVINO would copy weights for each token. {INSTEAD}"
        )
    if lacking := _lacking():
        raise UnsupportedError(f"{name} is '{checkpoint.family}', which {lacking}")
    with _calm():
        model = _loaded(checkpoint)
        _demand_fixed_positions(model, checkpoint)
        kept = _kept(model, checkpoint)
        with _short_windows(model):
            check(_answers(model, checkpoint), _network(model, kept, checkpoint))
        return _network(model, kept, checkpoint)


def _loaded(checkpoint: Checkpoint) -> Any:
    """In float32; no code of the folder is run, and no pickle is read."""
    import torch
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    name = checkpoint.folder.name
    if checkpoint.family not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise UnsupportedError(
            f"{name} is '{checkpoint.family}', which transformers {transformers.__version__} know as no language model. {INSTEAD}"
        )
    try:
        model, told = transformers.AutoModelForCausalLM.from_pretrained(
            checkpoint.folder,
            dtype=torch.float32,
            attn_implementation="eager",
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except Exception as error:
        raise UnsupportedError(
            f"{name} can't be loaded by transformers {transformers.__version__} ({_said(error)}). {INSTEAD}"
        ) from error
    # transformers fill up what is lacking with random numbers.
    if lacking := sorted(told["missing_keys"]) + sorted(str(key) for key in told["mismatched_keys"]):
        raise ModelError(
            f"{checkpoint.folder}: the weight {lacking[0]} is missing, or of another shape, for a model of the kind '{checkpoint.family}'."
        )
    return model.eval().requires_grad_(False)


def _demand_fixed_positions(model: Any, checkpoint: Checkpoint) -> None:
    """Raises UnsupportedError where they are of another kind for long texts: a recording has those of its example, and the check's text is short."""
    told = getattr(model.config.get_text_config(decoder=True), "rope_parameters", None) or {}
    # Some models have other ones for each kind of layers.
    kinds = {str(one.get("rope_type")) for one in (told, *told.values()) if isinstance(one, Mapping)}
    if found := sorted(kinds & set(OF_LENGTH)):
        raise UnsupportedError(
            f"{checkpoint.folder.name} has positions of the kind '{found[0]}', which change with a text's length, so they can't be recorded. {INSTEAD}"
        )


def _kept(model: Any, checkpoint: Checkpoint) -> list[_Kept]:
    """Of each layer. Raises UnsupportedError where it is something else than keys and values."""
    import torch
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    layers = getattr(model(input_ids=torch.zeros(1, 2, dtype=torch.long), use_cache=True), "past_key_values", None)
    found = list(getattr(layers, "layers", ()))
    if not found or any(
        type(one) not in (DynamicLayer, DynamicSlidingWindowLayer) or one.keys is None or one.keys.ndim != 4
        for one in found
    ):
        raise UnsupportedError(
            f"{checkpoint.folder.name} is '{checkpoint.family}', whose layers keep something else of a text than a key and a value of each token, "
            f"so it is not recorded by way of PyTorch. {INSTEAD}"
        )
    return [_Kept(one.keys.shape[1], one.keys.shape[3], one.values.shape[3]) for one in found]


def _answers(model: Any, checkpoint: Checkpoint) -> agreement.Answers:
    import torch

    vocabulary, context = (size(checkpoint.config, checkpoint.folder, *names) for names in (VOCABULARY, CONTEXT))
    tokens = agreement.question(vocabulary, context)
    model.set_attn_implementation("eager")
    logits = model(input_ids=torch.tensor(tokens[None]), use_cache=False).logits[0]
    return agreement.Answers(tokens, torch.log_softmax(logits.double(), -1).numpy())


def _network(model: Any, kept: list[_Kept], checkpoint: Checkpoint) -> Any:
    """Raises UnsupportedError where OpenVINO lacks something of it, or the model can't be called with its state."""
    # Recorded with PyTorch's own operator for attention, OpenVINO's faster kernels are found, and compressed keys and values. Some models have none.
    with contextlib.suppress(ValueError):
        model.set_attn_implementation("sdpa")
    try:
        network = _recorded(model, kept)
    except Exception as error:
        raise UnsupportedError(
            f"{checkpoint.folder.name} is '{checkpoint.family}', which OpenVINO can't be given by way of PyTorch ({_said(error)}). {INSTEAD}"
        ) from error
    return _narrowed(_with_states(network, kept), checkpoint.dtype)


def _recorded(model: Any, kept: list[_Kept]) -> Any:
    """With keys and values as inputs and outputs."""
    import torch
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    class Recorded(torch.nn.Module):  # type: ignore[misc] # torch is not imported where types are checked
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any, position_ids: Any, *past: Any) -> tuple[Any, ...]:
            cache = DynamicCache()
            cache.layers = [_filled(DynamicLayer(), *pair) for pair in zip(past[::2], past[1::2], strict=True)]
            # Else more layers of that kind are added when they are asked for.
            cache.layer_class_to_replicate = None
            found = self.model(
                input_ids=input_ids,
                attention_mask=attention_mask,
                position_ids=position_ids,
                past_key_values=cache,
                use_cache=True,
            )
            return (found.logits, *(one for layer in cache.layers for one in (layer.keys, layer.values)))

    tokens = torch.ones(1, _NOW, dtype=torch.long)
    mask = torch.ones(1, _BEFORE + _NOW, dtype=torch.long)
    positions = torch.arange(_BEFORE, _BEFORE + _NOW)[None]
    past = [torch.zeros(1, one.heads, _BEFORE, width) for one in kept for width in (one.key, one.value)]
    with torch.no_grad():
        return runtime.imported().convert_model(Recorded(), example_input=(tokens, mask, positions, *past))


def _filled(layer: Any, keys: Any, values: Any) -> Any:
    """Without ``update``, which would add them to an empty tensor, an operator more in each layer that OpenVINO doesn't know as a state's."""
    layer.dtype, layer.device, layer.keys, layer.values, layer.is_initialized = (
        keys.dtype,
        keys.device,
        keys,
        values,
        True,
    )
    return layer


def _with_states(network: Any, kept: list[_Kept]) -> Any:
    """Keys and values as states, in place of the inputs and outputs that they were recorded as."""
    import openvino
    from openvino import opset13 as ops

    parameters, results = network.get_parameters(), network.get_results()
    for name, parameter in zip(("input_ids", "attention_mask", "position_ids"), parameters, strict=False):
        parameter.set_friendly_name(name)
        parameter.output(0).get_tensor().set_names({name})
        parameter.set_partial_shape(openvino.PartialShape([-1, -1]))
    beams = ops.parameter([-1], np.int32, name="beam_idx")
    beams.output(0).get_tensor().set_names({"beam_idx"})
    network.add_parameters([beams])
    results[0].output(0).get_tensor().set_names({"logits"})
    shape = ops.shape_of(parameters[0], output_type="i64")
    batch = ops.gather(shape, ops.constant(np.array([0])), ops.constant(np.array(0)))
    places = [
        (f"{layer}.{what}", one.heads, width)
        for layer, one in enumerate(kept)
        for what, width in (("key", one.key), ("value", one.value))
    ]
    for (place, heads, width), before, after in zip(places, parameters[3:], results[1:], strict=True):
        users = before.output(0).get_target_inputs()
        variable, held = decoder.held(place, heads, width, batch, beams)
        for user in users:
            user.replace_source_output(held.output(0))
        network.add_sinks([ops.assign(after.input_value(0).get_node(), variable)])
        network.remove_result(after)
        network.remove_parameter(before)
    network.validate_nodes_and_infer_types()
    return network


def _narrowed(network: Any, dtype: str) -> Any:
    """With its matrices in the 16 bits that the checkpoint has them in, as far as nothing is lost: they were widened to be recorded."""
    import openvino
    from openvino import opset13 as ops

    kinds = {"bfloat16": openvino.Type.bf16, "float16": openvino.Type.f16}
    if dtype not in kinds:
        return network
    for node in network.get_ops():
        if node.get_type_name() != "Constant" or node.get_element_type() != openvino.Type.f32 or len(node.shape) < 2:
            continue
        wide = node.data
        if dtype == "float16":
            with np.errstate(over="ignore"):
                narrow = wide.astype(np.float16)
            exact = np.array_equal(narrow, wide)
        else:
            bits = wide.view(np.uint32)
            narrow, exact = (bits >> 16).astype(np.uint16), not (bits & 0xFFFF).any()
        if exact:
            tensor = openvino.Tensor(narrow, openvino.Shape(narrow.shape), kinds[dtype])
            kept = openvino.op.Constant(tensor, shared_memory=False)
            kept.set_friendly_name(node.get_friendly_name())
            users = node.output(0).get_target_inputs()
            widened = ops.convert(kept, "f32")
            for user in users:
                user.replace_source_output(widened.output(0))
    network.validate_nodes_and_infer_types()
    return network


@contextlib.contextmanager
def _short_windows(model: Any) -> Iterator[None]:
    """Half as long as the text that is asked about, where they are longer."""
    sizes = model.config.get_text_config(decoder=True)
    own = {name: getattr(sizes, name, None) for name in WINDOWS}
    try:
        for name, window in own.items():
            if isinstance(window, int) and window > agreement.TOKENS // 2:
                setattr(sizes, name, agreement.TOKENS // 2)
        yield
    finally:
        for name, window in own.items():
            if window is not None:
                setattr(sizes, name, window)


@contextlib.contextmanager
def _calm() -> Iterator[None]:
    """Nothing is warned of: that a trace has constants (the check tells wrong ones), that slower kernels are used, how far loading is."""
    import transformers

    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        with warnings.catch_warnings(), runtime.quiet():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers.logging.set_verbosity(level)


def _lacking() -> str:
    """What is not installed, as the rest of a sentence; empty where all is."""
    lacking = [name for name in DISTRIBUTIONS if importlib.util.find_spec(name) is None]
    told = f"{' and '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} not installed"
    return f"comes to OpenVINO by way of PyTorch, and {told}: pip install 'pytest-edgeai[{EXTRA}]'." if lacking else ""


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {runtime.said(error)}"
