"""Language models on OpenVINO: stateful decoders that compute in float32, with the source's weights or with weights of 8 and 4 bits.

The baseline is exact, for others are held against it: float32 throughout, and weights as the source stores them. Compressed ones run as they would be
deployed: the plugin's own defaults for activations (int8, in groups) and for keys and values (u8), but never bfloat16 unless it is asked for. What
that costs and brings, on a half trained model of 10 million parameters, over some 3,000 tokens of text (mean divergence from the baseline, in nats) and
in one thread's processor time for each token (least of six):

====================  ===========  ===========  =========
activations           nats, int8   nats, int4   ms, int8
====================  ===========  ===========  =========
float32               0.00005      0.0028       1.7
int8 in groups of 32  0.00012      0.0029       0.6
====================  ===========  ===========  =========

Keys and values in u8 instead of float32 add 0.00002 to either, change no time that could be told, and take a quarter of the memory.
"""

import json
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai.errors import BuildError, EdgeError, UnsupportedError
from pytest_edgeai.frameworks.openvino import decoder, kernels, runtime, traced
from pytest_edgeai.language import agreement
from pytest_edgeai.language.checkpoint import CONFIG, CONTEXT, VOCABULARY, Checkpoint, ship, size
from pytest_edgeai.language.decoder import decoder_of
from pytest_edgeai.language.tokens import demand_fitting
from pytest_edgeai.protocols import Generator
from pytest_edgeai.records import Assessment, LanguageFacts, Recipe

FILE: Final = "openvino_model.xml"
"""The artifact, called as ``openvino_genai`` wants it, with its weights beside it."""
BASELINE: Final = Recipe(framework="openvino", precision="fp32")
_RUN: Final[dict[str, str | int | float | bool]] = {"activation_group": 32, "keys_and_values": "u8"}
CATALOGUE: Final = (
    Recipe(framework="openvino", precision="int8", options={"mode": "int8_asym", **_RUN}),
    Recipe(framework="openvino", precision="int4", options={"mode": "int4_sym", "weight_group": 64, **_RUN}),
)
_VERDICTS: Final = {"fp32": "fp16", "int8": "int8", "int4": "int4-g64"}
"""Precision -> the verdict of the assessment that it depends on."""
_TUNING: Final = ("precision", "threads")
_OF_EACH: Final = ("Add", "Clamp", "Convert", "Divide", "Multiply", "Subtract", "Tanh")
"""Operators that make of each logit another one."""


def refusal(recipe: Recipe, assessment: Assessment) -> str | None:
    """Where the model is quantized already, not converted here, or its rows don't fit, or the recipe is tuned in a way that tensors alone have."""
    why = traced.refusal(assessment) or assessment.why_not(_VERDICTS[recipe.precision])
    if why is not None:
        return why
    for key, value in recipe.tuning.items():
        if key not in _TUNING:
            return (
                f"A language model is timed on the CPU, with one prompt at a time: {key}={value} can't be had for it."
            )
    return None


def helpers(facts: LanguageFacts) -> Sequence[str]:
    """Distributions that the model is built with beside OpenVINO's."""
    return traced.DISTRIBUTIONS if facts.unconverted else ()


def reason(recipe: Recipe, facts: LanguageFacts) -> str:
    """What it saves, and which way it is built."""
    way = f" '{facts.family}' is built by way of PyTorch and transformers." if facts.unconverted else ""
    if recipe.precision == "fp32":
        return f"The model with its own weights, computed in float32.{way}"
    bits = recipe.precision.removeprefix("int")
    return f"Each token needs all weights from memory, and they have {bits} bits; activations are brought to int8 where the CPU multiplies that faster.{way}"


def build(recipe: Recipe, model: Path, folder: Path) -> None:
    """Write a folder as ``optimum-intel`` exports one. Raises BuildError, or UnsupportedError for a model that isn't converted here."""
    if model.is_file():
        raise UnsupportedError(
            f"{model.name} is one file; OpenVINO is given the folder of a checkpoint. (Its own reader of GGUF files leaves out "
            "how positions are stretched, and takes biases in the wrong order, in silence.)"
        )
    checkpoint = Checkpoint(model)

    def check(expected: agreement.Answers, network: Any) -> None:
        checked = _Model(network, BASELINE, checkpoint.config, threads=0)
        checkpoint.release()  # the plugin has packed copies
        agreement.demand(expected, checked, recipe.name)

    try:
        with runtime.quiet():
            network = (decoder if _is_written(checkpoint) else traced).checked(checkpoint, check)
            if "mode" in recipe.options:
                network = _compressed(network, recipe)
            # Unless told otherwise it would round all float32 to float16.
            runtime.imported().save_model(network, folder / FILE, compress_to_fp16=False)
    except EdgeError:
        raise
    except Exception as error:
        raise BuildError(f"OpenVINO can't build {recipe.name} of {model.name}: {runtime.said(error)}.") from error
    ship(model, folder)


def _is_written(checkpoint: Checkpoint) -> bool:
    """Whether its network is put together here. Raises ModelError for a configuration that can't be."""
    try:
        decoder_of(checkpoint)
    except UnsupportedError:
        return False
    return True


def load(recipe: Recipe, folder: Path, threads: int) -> Generator:
    """The compiled decoder. Raises EdgeError where the plugin does something else than the recipe says."""
    try:
        network = runtime.imported().Core().read_model(folder / FILE)
        config = json.loads((folder / CONFIG).read_bytes())
        return _Model(network, recipe, config, int(recipe.tuning.get("threads", threads)))
    except EdgeError:
        raise
    except Exception as error:
        raise EdgeError(f"OpenVINO can't load {recipe.name}: {runtime.said(error)}.") from error


def _compressed(network: Any, recipe: Recipe) -> Any:
    """As ``optimum-intel`` does unless told otherwise: embeddings and the matrix that makes logits keep 8 bits."""
    import nncf

    nncf.set_log_level(logging.ERROR)
    options = {"group_size": recipe.options["weight_group"]} if "weight_group" in recipe.options else {}
    return nncf.compress_weights(network, mode=nncf.CompressWeightsMode(recipe.options["mode"]), **options)


class _Model:
    """Satisfies :class:`pytest_edgeai.protocols.Generator`."""

    def __init__(self, network: Any, recipe: Recipe, config: Any, threads: int) -> None:
        whose = Path(recipe.name)
        self.vocabulary, self.context = size(config, whose, *VOCABULARY), size(config, whose, *CONTEXT)
        self._recipe = recipe
        prepare(network)
        options = _options(recipe, threads)
        self._compiled = runtime.imported().Core().compile_model(network, "CPU", options)
        for key in options.keys() - {"INFERENCE_NUM_THREADS"} | ({"INFERENCE_NUM_THREADS"} & recipe.tuning.keys()):
            if (found := _plain(self._compiled.get_property(key))) != str(options[key]):
                raise EdgeError(
                    f"OpenVINO was asked to run {recipe.name} with {key} = {options[key]}, and uses {found}."
                )
        self._request = self._compiled.create_infer_request()
        self._ones, self._places = np.ones((1, self.context), np.int64), np.arange(self.context)[None]
        # What doesn't change from token to token is handed over once.
        self._request.set_tensor("beam_idx", runtime.imported().Tensor(np.zeros(1, np.int32)))
        self._kept = 0

    def generate(self, prompt: NDArray[np.integer[Any]], count: int) -> Iterator[int]:
        """The prompt at once, then token after token; logits are computed for the last one alone."""
        demand_fitting(self, prompt, count)
        self._request.reset_state()
        part, begin = prompt.astype(np.int64), 0
        for _ in range(count):
            token = int(self._logits(part, begin, 1)[-1].argmax())
            yield token
            part, begin = np.array([token]), begin + len(part)

    def logits(self, tokens: NDArray[np.integer[Any]], chunk: int) -> Iterator[NDArray[np.float32]]:
        """With a state of keys and values between the chunks."""
        demand_fitting(self, tokens)
        self._request.reset_state()
        for begin in range(0, len(tokens), chunk):
            part = tokens[begin : begin + chunk].astype(np.int64)
            yield self._logits(part, begin, len(part))

    def placement(self) -> dict[str, str]:
        """What the plugin's kernels compute in and how they keep weights. Raises EdgeError where most weights aren't the recipe's."""
        recipe, compiled = self._recipe, self._compiled
        next(self.logits(np.zeros(1, np.int64), 1))  # the plugin chooses kernels when it has something to compute
        found = kernels.used(compiled)
        computes, stored = Counter(one for one, _ in found), Counter(other for _, other in found)
        if recipe.precision in kernels.STORED:
            kernels.demand(recipe, stored, kernels.STORED[recipe.precision])
        told = {
            "device": ", ".join(compiled.get_property("EXECUTION_DEVICES")),
            "precision": f"{kernels.told(computes)}, weights {kernels.told(stored)}",
            "threads": str(compiled.get_property("INFERENCE_NUM_THREADS")),
            "keys and values": _plain(compiled.get_property("KV_CACHE_PRECISION"))
            if kernels.attends(compiled)
            else "f32",
        }
        if group := recipe.options.get("activation_group"):
            told["activations"] = f"int8 in groups of {group} where that is faster"
        return told

    def _logits(self, part: NDArray[np.int64], begin: int, count: int) -> NDArray[np.float32]:
        """Of the last ``count`` tokens, ``[count, vocabulary]``: the plugin's own memory, good until the next call."""
        end = begin + len(part)
        inputs = {
            "input_ids": part[None],
            "attention_mask": self._ones[:, :end],
            "position_ids": self._places[:, begin:end],
        }
        if count != self._kept:
            self._request.set_tensor("logits_to_keep", runtime.imported().Tensor(np.array([count])))
            self._kept = count
        try:
            found: NDArray[np.float32] = self._request.infer(inputs, share_inputs=True, share_outputs=True)[0][0]
        except Exception as error:
            raise EdgeError(f"OpenVINO can't run {self._recipe.name}: {runtime.said(error)}.") from error
        return found


def _options(recipe: Recipe, threads: int) -> dict[str, Any]:
    """All that decides what is computed is stated, for the plugin's defaults are bfloat16 where the CPU has it, keys and values in u8, and
    activations in int8.
    """
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": recipe.tuning.get("precision", "f32"),
        "KV_CACHE_PRECISION": recipe.options.get("keys_and_values", "f32"),
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": recipe.options.get("activation_group", 0),
    }
    return options | ({"INFERENCE_NUM_THREADS": threads} if threads else {})


def _plain(value: Any) -> str:
    return str(value.get_type_name() if hasattr(value, "get_type_name") else value)


def prepare(network: Any) -> None:
    """Change a network that was read from a file into the one that is run, in place."""
    _keep_halves(network)
    _count_logits(network)


def _keep_halves(network: Any) -> None:
    """Let the plugin keep weights of 16 bits as they are, and bring them to float32 where it multiplies.

    It does so for what this mark is on, which is not saved with the network. Without it, all are made float32 when the network is compiled, and
    packed in copies: a model of 125 million parameters in bfloat16 took 3.5 times its size to score a text, instead of twice.
    """
    for node in network.get_ops():
        halves = node.get_type_name() == "Constant" and node.get_element_type().get_type_name() in ("f16", "bf16")
        for user in node.output(0).get_target_inputs() if halves else ():
            if user.get_node().get_type_name() == "Convert":
                user.get_node().get_rt_info()["decompression_0"] = ""


def _count_logits(network: Any) -> None:
    """Give the network an input that says for how many of the last tokens logits are made: a prompt needs those of its last one alone.

    ``openvino_genai`` changes networks alike when it loads them.
    """
    from openvino import opset13 as ops

    def whole(value: int) -> Any:
        return ops.constant(np.array([value]))

    result = network.output("logits").get_node()
    made = result.input_value(0).get_node()
    while made.get_type_name() in _OF_EACH and len(given := _given(made)) == 1:
        made = given[0]
    # Where it isn't such a product that logits come of, they are all made, and those that are asked for handed out.
    head = made if made.get_type_name() == "MatMul" else result
    count = ops.parameter([1], np.int64, name="logits_to_keep")
    count.output(0).get_tensor().set_names({"logits_to_keep"})
    last = ops.slice(head.input_value(0), ops.negative(count), whole(2**31 - 1), whole(1), whole(1))
    head.input(0).replace_source_output(last.output(0))
    network.add_parameters([count])
    network.validate_nodes_and_infer_types()


def _given(node: Any) -> list[Any]:
    """The nodes that an operator's inputs come of, but for those that are always the same: biases and scales."""
    return [one for one in _nodes_before(node) if not _is_constant(one)]


def _is_constant(node: Any) -> bool:
    source = _nodes_before(node)[0] if node.get_type_name() == "Convert" else node
    return bool(source.get_type_name() == "Constant")


def _nodes_before(node: Any) -> list[Any]:
    return [value.get_node() for value in node.input_values()]
