"""Decoders for OpenVINO: a language model of the Llama family as a network with a state, built from its checkpoint without PyTorch.

The network is what ``optimum-intel`` exports, too: inputs ``input_ids``, ``attention_mask``, ``position_ids`` and ``beam_idx``, output ``logits``, keys and values as
variables; so ``openvino_genai`` takes it as it is.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from pytest_edgeai.language import agreement
from pytest_edgeai.language.checkpoint import Checkpoint
from pytest_edgeai.language.decoder import Decoder, decoder_of

MASKED: Final = -65504.0
"""The least float16, so that a score stays finite when all is computed in it."""


def network(checkpoint: Checkpoint) -> Any:
    """The ``openvino.Model``; weights in the precision that the checkpoint has them in, float32 otherwise. Raises UnsupportedError.

    Its weights lie where the checkpoint maps them: it is good as long as the checkpoint.
    """
    return _Network(checkpoint, decoder_of(checkpoint)).built()


def checked(checkpoint: Checkpoint, check: Callable[[agreement.Answers, Any], None]) -> Any:
    """The network, after ``check`` was given what the source says and another network of it, which it may change. Raises UnsupportedError.

    It is put together twice; a clone would have weights of its own.
    """
    check(agreement.answers(checkpoint), network(checkpoint))
    checkpoint.release()
    made = network(checkpoint)
    checkpoint.release()  # what was looked at meanwhile
    return made


def held(place: str, heads: int, size: int, batch: Any, beams: Any) -> tuple[Any, Any]:
    """The state ``place``, and what it holds of the beams that go on: ``[batch, heads, tokens before, size]`` in float32, no tokens at first.

    ``batch``: how many texts, as a node of one number.
    """
    import openvino
    from openvino import opset13 as ops
    from openvino.op.util import Variable, VariableInfo

    def whole(value: int | list[int]) -> Any:
        return ops.constant(np.array(value, np.int64))

    info = VariableInfo()
    info.data_shape = openvino.PartialShape([-1, heads, -1, size])
    info.data_type = openvino.Type.f32
    info.variable_id = f"past_key_values.{place}present.{place}"
    variable = Variable(info)
    nothing = ops.concat([batch, whole([heads]), whole([0]), whole([size])], 0)
    before = ops.read_value(ops.broadcast(ops.constant(np.array(0.0, np.float32)), nothing), variable)
    return variable, ops.gather(before, beams, whole(0))


class _Network:
    """Puts the network together; ``ops`` are OpenVINO's operators."""

    def __init__(self, checkpoint: Checkpoint, sizes: Decoder) -> None:
        import openvino
        from openvino import opset13

        self.ov, self.ops = openvino, opset13
        self._checkpoint, self._sizes = checkpoint, sizes
        self._constants: dict[str, Any] = {}
        self._sinks: list[Any] = []
        self._ids = self._input("input_ids", np.int64, 2)
        self._mask = self._input("attention_mask", np.int64, 2)
        self._positions = self._input("position_ids", np.int64, 2)
        self._beams = self._input("beam_idx", np.int32, 1)
        ops, shape = self.ops, self.ops.shape_of(self._ids, output_type="i64")
        self._batch, self._length = (ops.gather(shape, self._whole([axis]), self._whole(0)) for axis in (0, 1))

    def built(self) -> Any:
        """The whole network."""
        ops, sizes = self.ops, self._sizes
        turn, mask = self._turn(), self._causal_mask()
        embeddings = "model.embed_tokens.weight"
        x = ops.gather(self._weight(embeddings), ops.convert(self._ids, "i32"), self._whole(0))
        for layer in range(sizes.layers):
            name = f"model.layers.{layer}"
            x = ops.add(
                x, self._attention(layer, f"{name}.self_attn", self._normed(x, f"{name}.input_layernorm"), turn, mask)
            )
            y = self._normed(x, f"{name}.post_attention_layernorm")
            gate, up = self._linear(y, f"{name}.mlp.gate_proj"), self._linear(y, f"{name}.mlp.up_proj")
            x = ops.add(x, self._linear(ops.multiply(ops.swish(gate), up), f"{name}.mlp.down_proj"))
        head = self._weight(embeddings if sizes.tied else "lm_head.weight")
        logits = ops.matmul(self._normed(x, "model.norm"), head, False, True)
        logits.set_friendly_name("lm_head")
        result = ops.result(logits)
        result.output(0).get_tensor().set_names({"logits"})
        return self.ov.Model([result], self._sinks, [self._ids, self._mask, self._positions, self._beams], sizes.family)

    # Parts -------------------------------------------------------------------------------------------------------------------

    def _attention(self, layer: int, name: str, x: Any, turn: tuple[Any, Any], mask: Any) -> Any:
        ops, sizes = self.ops, self._sizes
        queries = self._turned(self._heads(x, name, "q", sizes.heads), turn)
        keys = self._kept(self._turned(self._heads(x, name, "k", sizes.kv_heads), turn), f"{layer}.key")
        values = self._kept(self._heads(x, name, "v", sizes.kv_heads), f"{layer}.value")
        mixed = ops.scaled_dot_product_attention(queries, self._shared(keys), self._shared(values), mask, causal=False)
        width = self._whole([sizes.heads * sizes.head_size])
        flat = ops.reshape(
            ops.transpose(mixed, self._whole([0, 2, 1, 3])), ops.concat([self._batch, self._length, width], 0), False
        )
        return self._linear(flat, f"{name}.o_proj")

    def _heads(self, x: Any, name: str, letter: str, count: int) -> Any:
        """``[batch, heads, length, size of a head]``, normed where the family does that."""
        ops = self.ops
        split = ops.reshape(
            self._linear(x, f"{name}.{letter}_proj"), self._whole([0, 0, count, self._sizes.head_size]), True
        )
        if f"{name}.{letter}_norm.weight" in self._checkpoint:
            split = self._normed(split, f"{name}.{letter}_norm")
        return ops.transpose(split, self._whole([0, 2, 1, 3]))

    def _turned(self, x: Any, turn: tuple[Any, Any]) -> Any:
        """By its position (RoPE), the halves of a head as pairs."""
        ops, half = self.ops, self._sizes.head_size // 2
        one, axis = self._whole([1]), self._whole([3])
        first = ops.slice(x, self._whole([0]), self._whole([half]), one, axis)
        second = ops.slice(x, self._whole([half]), self._whole([2**31 - 1]), one, axis)
        swapped = ops.concat([ops.multiply(second, self._real(-1.0)), first], -1)
        return ops.add(ops.multiply(x, turn[0]), ops.multiply(swapped, turn[1]))

    def _kept(self, x: Any, place: str) -> Any:
        """These keys or values after those of all tokens before, which are the state ``place``."""
        sizes = self._sizes
        variable, before = held(place, sizes.kv_heads, sizes.head_size, self._batch, self._beams)
        joined = self.ops.concat([before, x], 2)
        self._sinks.append(self.ops.assign(joined, variable))
        return joined

    def _shared(self, x: Any) -> Any:
        """Keys or values, once for each head that shares them."""
        ops, sizes = self.ops, self._sizes
        if sizes.heads == sizes.kv_heads:
            return x
        each = self._whole([sizes.heads // sizes.kv_heads])
        shape = [self._batch, self._whole([sizes.kv_heads]), each, self._whole([1]), self._whole([sizes.head_size])]
        wide = ops.broadcast(ops.unsqueeze(x, self._whole([2])), ops.concat(shape, 0), broadcast_spec="BIDIRECTIONAL")
        return ops.reshape(wide, self._whole([0, sizes.heads, -1, sizes.head_size]), True)

    def _turn(self) -> tuple[Any, Any]:
        """Cosine and sine of each position's angles."""
        ops = self.ops
        frequencies = self._sizes.rotation.frequencies(self._sizes.head_size).astype(np.float32)[None, None]
        angles = ops.multiply(
            ops.unsqueeze(ops.convert(self._positions, "f32"), self._whole([-1])), ops.constant(frequencies)
        )
        both = ops.concat([angles, angles], -1)
        return ops.unsqueeze(ops.cos(both), self._whole([1])), ops.unsqueeze(ops.sin(both), self._whole([1]))

    def _causal_mask(self) -> Any:
        """``[batch, 1, length, all tokens]``, to be added to scores: nothing later, and nothing that the attention mask leaves out."""
        ops = self.ops
        tokens = ops.gather(ops.shape_of(self._mask, output_type="i64"), self._whole(1), self._whole(0))
        length = ops.squeeze(self._length, self._whole([0]))
        of_keys = ops.range(self._whole(0), tokens, self._whole(1), "i64")
        of_queries = ops.add(ops.range(self._whole(0), length, self._whole(1), "i64"), ops.subtract(tokens, length))
        before = ops.less_equal(ops.unsqueeze(of_keys, self._whole([0])), ops.unsqueeze(of_queries, self._whole([-1])))
        there = ops.unsqueeze(ops.greater(self._mask, self._whole(0)), self._whole([1, 2]))
        return ops.select(
            ops.logical_and(ops.unsqueeze(before, self._whole([0, 1])), there), self._real(0.0), self._real(MASKED)
        )

    def _linear(self, x: Any, name: str) -> Any:
        product = self.ops.matmul(x, self._weight(f"{name}.weight"), False, True)
        product.set_friendly_name(name)
        return self.ops.add(product, self._weight(f"{name}.bias")) if f"{name}.bias" in self._checkpoint else product

    def _normed(self, x: Any, name: str) -> Any:
        """By the root of the mean square."""
        ops = self.ops
        squares = ops.reduce_mean(ops.power(x, self._real(2.0)), self._whole([-1]), True)
        root = ops.sqrt(ops.add(squares, self._real(self._sizes.epsilon)))
        return ops.multiply(ops.multiply(x, ops.divide(self._real(1.0), root)), self._weight(f"{name}.weight"))

    def _weight(self, name: str) -> Any:
        """In float32 for the operators, kept as the checkpoint has it where OpenVINO knows that form."""
        if name not in self._constants:
            constant = self._constant(name)
            constant.set_friendly_name(name)
            kept = constant.get_element_type() == self.ov.Type.f32
            self._constants[name] = constant if kept else self.ops.convert(constant, "f32")
        return self._constants[name]

    def _constant(self, name: str) -> Any:
        """Where it lies in the file, which is mapped; copied where it lies crooked, or OpenVINO doesn't know its form."""
        ov, dtype = self.ov, self._checkpoint.tensors[name].dtype
        form = {"BF16": ov.Type.bf16, "F16": ov.Type.f16, "F32": ov.Type.f32}.get(dtype)
        if form is None:
            return self.ops.constant(np.array(self._checkpoint[name]))
        raw = self._checkpoint.raw(name)
        return ov.op.Constant(ov.Tensor(raw, ov.Shape(raw.shape), form), shared_memory=bool(raw.flags.aligned))

    def _input(self, name: str, dtype: Any, rank: int) -> Any:
        parameter = self.ops.parameter([-1] * rank, name=name, dtype=dtype)
        parameter.output(0).get_tensor().set_names({name})
        return parameter

    def _whole(self, value: int | list[int]) -> Any:
        return self.ops.constant(np.array(value, np.int64))

    def _real(self, value: float) -> Any:
        return self.ops.constant(np.array(value, np.float32))
