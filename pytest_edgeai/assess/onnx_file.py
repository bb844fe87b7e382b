"""ONNX files: what can be known of one before it is optimized. Read in a worker, which needs the ``onnx`` package and no runtime."""

import hashlib
import mmap
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Final

from pytest_edgeai.assess.files import opened
from pytest_edgeai.errors import ModelError
from pytest_edgeai.records import Assessment, Quantizable, TensorSpec, digest_of, digest_of_file
from pytest_edgeai.units import show

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

PROTOBUF_LIMIT: Final = 2**31 - 1
"""Bytes that one protobuf message can have; larger models keep their weights in external data files."""
_SHAPE_DATA: Final = 4096
"""Bytes up to which an initializer may be a shape, which shape inference has to see."""

_CONVOLUTION: Final = "convolutions"
_PRODUCT: Final = "matrix products"
_ATTENTION: Final = "products of two activations"
_LSTM: Final = "LSTM layers"
_RECURRENT: Final = "GRU and RNN layers"
_WORKERS: Final = {
    "Conv": _CONVOLUTION,
    "ConvTranspose": _CONVOLUTION,
    "Gemm": _PRODUCT,
    "MatMul": _PRODUCT,
    "LSTM": _LSTM,
    "GRU": _RECURRENT,
    "RNN": _RECURRENT,
}
"""Operators that do the work, by what people call them."""
_TREES: Final = frozenset({"TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor"})
_UNCOUNTED: Final = frozenset(
    {
        "LSTM",
        "GRU",
        "RNN",
        "Attention",
        "Einsum",
        "DeformConv",
        "ConvInteger",
        "MatMulInteger",
        "QLinearConv",
        "QLinearMatMul",
    }
)
"""Operators whose multiply-accumulates are not counted; where one of them is, the count would mislead."""
_ATTENTION_OPS: Final = frozenset(
    {"Attention", "MultiHeadAttention", "GroupQueryAttention", "QAttention", "PackedAttention"}
)
_QUANTIZED_OPS: Final = frozenset(
    {
        "QuantizeLinear",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "ConvInteger",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "DynamicQuantizeMatMul",
        "DynamicQuantizeLSTM",
        "MatMulNBits",
        "QGemm",
        "QAttention",
        "QLinearConv",
        "QLinearMatMul",
        "QLinearAdd",
    }
)
_OTHER_FORMATS: Final = (
    (b"version https://git-lfs", "a Git LFS pointer, not the model itself: run `git lfs pull`"),
    (b"PK\x03\x04", "a zip archive (a PyTorch checkpoint is one), not an ONNX file: export the model to ONNX"),
    (b"GGUF", "a GGUF file, not an ONNX file: its name must end in .gguf"),
    (b"\x89HDF", "an HDF5 file (Keras writes them), not an ONNX file: export the model to ONNX"),
    (b"<", "a web page or XML, not an ONNX file: the download probably went to a login page"),
)
"""How files that are often taken for an ONNX file begin. (No ONNX file begins so: its first byte is the tag of a field.)"""


def read(path: str) -> Assessment:
    """Read the ONNX file at ``path``. Raises ModelError when it is no valid model, or one that can't be measured here."""
    file = Path(path)
    # Mapped, so that the weights of a large file are not in memory twice while it is parsed.
    with opened(file) as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        digest = hashlib.sha256(data).hexdigest()
        size = len(data)
        model = _parse(file, data)
    external = _external_files(model, file)
    if external:
        digest = digest_of({"": digest, **{name: digest_of_file(found) for name, found in external.items()}})
        size += sum(found.stat().st_size for found in external.values())
    inputs, outputs = _signature(model, path)
    model, light = _checked(model, f"{path} ({show(size, 'bytes')})")
    ops = Counter(_type(node) for node in _nodes(model.graph))
    weights = _weights(model)
    work = _work(model, weights, light)
    return Assessment(
        digest=digest,
        bytes=size,
        parameters=sum(weight.elements for weight in weights),
        macs=work.macs,
        architecture=_architecture(ops, work),
        ops=dict(sorted(ops.items(), key=lambda entry: (-entry[1], entry[0]))),
        inputs=inputs,
        outputs=outputs,
        opset=_opset(model),
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        weight_dtypes=tuple(_bytes_by_dtype(weights)),
        precisions=_precisions(ops, weights, work),
    )


def _parse(file: Path, data: mmap.mmap) -> "ModelProto":
    import onnx

    what = f"{file} ({show(len(data), 'bytes')})"
    for beginning, meaning in _OTHER_FORMATS:
        if data[: len(beginning)] == beginning:
            raise ModelError(f"{what} is {meaning}.")
    if len(data) > PROTOBUF_LIMIT:
        raise ModelError(f"{what} is larger than the 2 GiB that an ONNX file can have. Save it with external data.")
    model = onnx.ModelProto()
    try:
        with memoryview(data) as view:
            model.ParseFromString(view)
    except Exception as error:  # protobuf's DecodeError
        raise ModelError(
            f"{what} can't be decoded: it is truncated, damaged or of another format. Export or download it again."
        ) from error
    # Bytes that happen to decode, or a file cut between two fields.
    lacks = [name for name in ("ir_version", "opset_import") if not getattr(model, name)]
    lacks += [] if model.graph.node else ["graph"]
    if lacks:
        raise ModelError(
            f"{what} lacks {' and '.join(lacks)}: it is truncated or no ONNX model. Export or download it again."
        )
    return model


def _checked(model: "ModelProto", what: str) -> tuple["ModelProto", "ModelProto"]:
    """The model without functions of its own, and a copy of it that is light: large weights are inputs there. Raises ModelError."""
    import onnx
    import onnx.inliner  # not loaded with the package, unlike the others

    known = {"IR version": onnx.IR_VERSION, "opset": onnx.defs.onnx_opset_version()}
    for name, version in {"IR version": model.ir_version, "opset": _opset(model)}.items():
        if version > known[name]:
            raise ModelError(
                f"{what} has {name} {version}, and onnx {onnx.__version__} knows them up to {known[name]}. "
                "Update onnx, or export the model for an older one."
            )
    try:
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        light = _without_weights(model)
        for value in light.graph.output:
            # The checker demands it, though runtimes do without.
            value.type.tensor_type.shape.SetInParent()
        onnx.checker.check_model(light)
    except Exception as error:  # the checker's own, and whatever a hostile file provokes
        raise ModelError(f"{what} is not a valid ONNX model: {_first_line(error)}. Export it again.") from error
    return model, light


def _without_weights(model: "ModelProto") -> "ModelProto":
    import onnx

    graph = model.graph
    light = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    light.graph.name = graph.name
    light.graph.node.extend(graph.node)
    light.graph.input.extend(graph.input)
    light.graph.output.extend(graph.output)
    light.graph.sparse_initializer.extend(graph.sparse_initializer)
    listed = {value.name for value in graph.input}
    for tensor in graph.initializer:
        if tensor.ByteSize() <= _SHAPE_DATA and tensor.data_location != onnx.TensorProto.EXTERNAL:
            light.graph.initializer.append(tensor)
        elif tensor.name not in listed:
            light.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return light


def _opset(model: "ModelProto") -> int:
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)


def _external_files(model: "ModelProto", file: Path) -> dict[str, Path]:
    """Location -> file of the weights that are kept outside; checked, because a location comes from whoever made the model.

    Raises ModelError, also where a tensor inside the model is shorter than its shape.
    """
    from onnx import TensorProto

    folder = file.parent.resolve()
    found: dict[str, Path] = {}
    for tensor_name, tensor in _tensors(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            held, needed = len(tensor.raw_data), prod(tensor.dims) * _bits(tensor.data_type) / 8
            if 0 < held < needed:
                raise ModelError(
                    f"{file}: tensor '{tensor_name}' holds {held} bytes and its shape needs {needed:.0f}. Export the model again."
                )
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = _text(entries.get("location", ""))
        what = f"{file}: the data of tensor '{tensor_name}' lie in '{location}'"
        ways = (PurePosixPath(location), PureWindowsPath(location))
        if not location or any(way.is_absolute() or way.drive or ".." in way.parts for way in ways):
            raise ModelError(f"{what}, outside the model's folder. Save the model anew, with its data beside it.")
        path = folder / location
        try:
            size, links = _size_and_links(path)
        except (OSError, ValueError) as error:
            raise ModelError(f"{what}, which is not there. Put that file beside the model.") from error
        if not path.resolve().is_relative_to(folder) or links:
            raise ModelError(
                f"{what}, which is a link; ONNX's own loader refuses those. Copy the model's folder with `cp -rL` and name the copy."
            )
        _check_extent(tensor, entries, size, what)
        found[location] = path
    return dict(sorted(found.items()))


def _size_and_links(path: Path) -> tuple[int, bool]:
    """Bytes of a regular file, and whether it is a symbolic link or has several names."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise FileNotFoundError(path)
    return status.st_size, path.is_symlink() or status.st_nlink > 1


def _check_extent(tensor: "TensorProto", entries: Mapping[str, str], size: int, what: str) -> None:
    """The bytes that a tensor names must be there, and be as many as its shape needs."""
    needed = _bits(tensor.data_type) * prod(tensor.dims) / 8
    try:
        offset, length = int(entries.get("offset") or 0), int(entries.get("length") or -(-needed // 1))
    except ValueError as error:
        raise ModelError(f"{what}, with an offset or a length that is no number. Save the model anew.") from error
    if offset < 0 or length < needed or offset + length > size:
        raise ModelError(
            f"{what} from byte {offset}, {length} bytes long, but its shape needs {needed:.0f} bytes and the file has {size}. "
            "Copy or download the file again."
        )


def _signature(model: "ModelProto", path: str) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    constants = {tensor.name for tensor in model.graph.initializer}
    constants |= {sparse.values.name for sparse in model.graph.sparse_initializer}
    inputs = tuple(_spec(value, path, "input") for value in model.graph.input if value.name not in constants)
    if any(node.op_type == "ZipMap" for node in model.graph.node):
        raise ModelError(
            f"{path} gives its probabilities as a list of dictionaries (ZipMap), and only dense tensors can be measured. "
            "Convert it again with options={'zipmap': False}."
        )
    outputs = tuple(_spec(value, path, "output") for value in model.graph.output)
    if not inputs or not outputs:
        raise ModelError(f"{path} has no {'outputs' if inputs else 'inputs'}, so there is nothing to measure.")
    return inputs, outputs


def _spec(value: "ValueInfoProto", path: str, role: str) -> TensorSpec:
    kind = value.type.WhichOneof("value")
    what = f"{path}: {role} '{value.name}' is"
    if kind != "tensor_type":
        name = f"of type {kind.removesuffix('_type').replace('_', ' ')}" if kind else "untyped"
        raise ModelError(f"{what} {name}, and only dense tensors can be measured. Export the model with tensors alone.")
    tensor = value.type.tensor_type
    dtype = _dtype(tensor.elem_type)
    if dtype == "string":
        instead = "make numbers of the texts before the model" if role == "input" else "train it with numbered classes"
        raise ModelError(f"{what} of text, and only numbers can be measured. Export the model without it: {instead}.")
    if dtype not in _NUMPY:
        raise ModelError(f"{what} of {dtype}, which is no numeric numpy dtype. Export the model with numeric {role}s.")
    if not tensor.HasField("shape"):
        if role == "input":
            raise ModelError(
                f"{what} of unknown rank, so nothing can be fed to it. Export the model with the input's rank."
            )
        return TensorSpec(name=_text(value.name), dtype=dtype, shape=("...",))
    # Exporters write an axis of any size as a name, as a name that means nothing, as nothing, or as -1 or 0.
    names = [_text(dim.dim_param) for dim in tensor.shape.dim]
    shape = tuple(
        dim.dim_value if dim.dim_value > 0 else f"{_text(value.name)}:{axis}" if name in _NAMELESS else name
        for axis, (dim, name) in enumerate(zip(tensor.shape.dim, names, strict=True))
    )
    return TensorSpec(name=_text(value.name), dtype=dtype, shape=shape)


_NAMELESS: Final = ("", "?", "None", "-1")
"""What exporters call an axis that has no name; two such axes are not the same one."""
_NUMPY: Final = frozenset(
    {"bool", "float16", "float32", "float64", "complex64", "complex128"}
    | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
)


def _text(value: str | bytes) -> str:
    """Protobuf hands back a string that isn't UTF-8 as bytes."""
    if isinstance(value, bytes):
        raise ModelError(
            f"The name {value[:60]!r} in the model is not UTF-8: the file is damaged. Export or download it again."
        )
    return value


def _dtype(data_type: int) -> str:
    """``float32``, ``bfloat16``, ``int4``, ``float8e4m3fn``, ``string``, ..."""
    from onnx import TensorProto

    name = (
        TensorProto.DataType.Name(data_type).lower()
        if data_type in TensorProto.DataType.values()
        else f"type {data_type}"
    )
    return {"float": "float32", "double": "float64"}.get(name, name)


def _bits(data_type: int) -> int:
    """Of one element: ``float8e4m3fn`` has 8."""
    name = _dtype(data_type)
    found = re.match(r"[a-z]+(\d+)", name)
    return 8 if name == "bool" else int(found[1]) if found else 0


def _type(node: "NodeProto") -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def _bodies(node: "NodeProto") -> list["GraphProto"]:
    """Branches and loop bodies."""
    return [
        graph
        for attribute in node.attribute
        for graph in ([attribute.g] if attribute.HasField("g") else attribute.graphs)
    ]


def _nodes(graph: "GraphProto") -> Iterator["NodeProto"]:
    """Every node, those of branches and loop bodies included."""
    for node in graph.node:
        yield node
        for body in _bodies(node):
            yield from _nodes(body)


def _tensors(model: "ModelProto") -> Iterator[tuple[str, "TensorProto"]]:
    """Name and data of every stored tensor, wherever it is."""
    nodes = [*_nodes(model.graph)]
    for function in model.functions:
        nodes += [
            inner for node in function.node for inner in (node, *(n for body in _bodies(node) for n in _nodes(body)))
        ]
    for node in nodes:
        for attribute in node.attribute:
            kept = [attribute.t] if attribute.HasField("t") else [*attribute.tensors]
            yield from ((tensor.name or (node.output[0] if node.output else node.name), tensor) for tensor in kept)
    for graph in (model.graph, *(body for node in nodes for body in _bodies(node))):
        yield from ((tensor.name, tensor) for tensor in graph.initializer)
        for sparse in graph.sparse_initializer:
            yield from ((sparse.values.name, tensor) for tensor in (sparse.values, sparse.indices))


@dataclass(frozen=True, slots=True)
class _Weight:
    """One stored tensor that holds parameters."""

    name: str
    dtype: str
    dims: tuple[int, ...]
    bytes: float

    @property
    def elements(self) -> int:
        return prod(self.dims)


def _weights(model: "ModelProto") -> list[_Weight]:
    """Stored tensors but for integers of 32 bits and more, and booleans: those are shapes, indices, or biases in a quantized model."""
    others = ("int32", "int64", "uint32", "uint64", "bool", "string")
    return [
        _Weight(name, _dtype(tensor.data_type), tuple(tensor.dims), prod(tensor.dims) * _bits(tensor.data_type) / 8)
        for name, tensor in _tensors(model)
        if _dtype(tensor.data_type) not in others
    ]


def _bytes_by_dtype(weights: list[_Weight]) -> dict[str, float]:
    """Largest first."""
    sizes: dict[str, float] = {}
    for weight in weights:
        sizes[weight.dtype] = sizes.get(weight.dtype, 0.0) + weight.bytes
    return dict(sorted(sizes.items(), key=lambda entry: (-entry[1], entry[0])))


@dataclass(frozen=True, slots=True)
class _Share:
    """What operators of one sort contribute."""

    count: int = 0
    macs: int = 0
    weights: int = 0


@dataclass(frozen=True, slots=True)
class _Work:
    """Who does the work, in a call at batch 1."""

    shares: Mapping[str, _Share]
    macs: int | None

    def part(self, *sorts: str) -> float:
        """The share of these sorts of operators: of the multiply-accumulates where they are known, else of the weights."""
        total = self._of(self.shares)
        return self._of(sorts) / total if total else 0.0

    def told(self) -> str:
        """``99 % of 205 M multiply-accumulates are in 38 convolutions``."""
        shares = sorted(self.shares, key=lambda sort: (-self.part(sort), sort))
        first, *others = [
            f"{_percent(self.part(sort))}{{}} in {self._number(sort)}" for sort in shares if self.part(sort) >= 0.01
        ]
        total = f" of {_count(self._of(self.shares))} {'multiply-accumulates' if self.macs else 'weights'} are"
        return ", ".join([first.format(total), *(other.format("") for other in others)])

    def _number(self, sort: str) -> str:
        count = self.shares[sort].count
        return f"{count} {sort}" if count > 1 else f"1 {sort.replace('products', 'product').removesuffix('s')}"

    def _of(self, sorts: Iterable[str]) -> int:
        found = [self.shares[sort] for sort in sorts if sort in self.shares]
        return sum(share.macs if self.macs else share.weights for share in found)


def _work(model: "ModelProto", weights: list[_Weight], light: "ModelProto") -> _Work:
    """Count multiply-accumulates, with every dynamic first axis (the batch) set to 1.

    Other dynamic axes stay unknown, and so does what depends on them: an image of one pixel or a text of one token would
    give a number, but not of any call that will be made.
    """
    sizes = {weight.name: weight for weight in weights}
    constant = _constants(model.graph)
    shapes = _shapes_at_batch_one(light)
    totals: dict[str, list[int]] = {}
    known = True
    for node in model.graph.node:
        # How often a branch or a loop body runs is not known.
        known = known and not any(inner.op_type in _WORKERS for body in _bodies(node) for inner in _nodes(body))
        if node.domain not in ("", "ai.onnx", "ai.onnx.ml") or node.op_type in _UNCOUNTED:
            known = False
        sort = _WORKERS.get(node.op_type)
        if sort is None or node.domain not in ("", "ai.onnx"):
            continue
        if node.op_type == "MatMul" and not constant & set(node.input):
            sort = _ATTENTION
        macs = _macs(node, shapes)
        known = known and macs is not None
        own = sum(sizes[name].elements for name in node.input if name in sizes and len(sizes[name].dims) > 1)
        total = totals.setdefault(sort, [0, 0, 0])
        for place, amount in enumerate((1, macs or 0, own)):
            total[place] += amount
    shares = {sort: _Share(*total) for sort, total in totals.items()}
    return _Work(shares, sum(share.macs for share in shares.values()) if known else None)


def _constants(graph: "GraphProto") -> set[str]:
    """Names of values that don't depend on the inputs."""
    names = {tensor.name for tensor in graph.initializer} | {sparse.values.name for sparse in graph.sparse_initializer}
    for node in graph.node:
        if all(not name or name in names for name in node.input) and not _bodies(node):
            names.update(node.output)
    return names


def _shapes_at_batch_one(light: "ModelProto") -> dict[str, tuple[int, ...]]:
    """Value -> shape, for those that are wholly known."""
    import onnx

    graph = light.graph
    for value in graph.output:
        # What was stored may name the batch, and would win over what is inferred.
        value.type.tensor_type.ClearField("shape")
    shapes = [value.type.tensor_type.shape for value in graph.input]
    batch = {shape.dim[0].dim_param for shape in shapes if len(shape.dim) > 1}
    for shape in shapes:
        for axis, dim in enumerate(shape.dim):
            if dim.dim_value <= 0 and (dim.dim_param in batch if dim.dim_param else axis == 0):
                dim.dim_value = 1
    try:
        inferred = onnx.shape_inference.infer_shapes(light, data_prop=True).graph
    except Exception:  # noqa: BLE001 - without shapes there is no count, and that is all
        return {}
    stored = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    return stored | {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
        if value.type.tensor_type.HasField("shape")
        and all(dim.dim_value > 0 for dim in value.type.tensor_type.shape.dim)
    }


def _macs(node: "NodeProto", shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """Of one node; ``None`` where a shape is not known."""
    found = [shapes.get(name) for name in (*node.input[:2], node.output[0])]
    left, right, out = found if len(found) == 3 else (None, None, None)
    if left is None or right is None or out is None:
        return None
    match node.op_type:
        case "Conv":  # weights: outputs, inputs / groups, kernel
            return prod(out) * prod(right[1:])
        case "ConvTranspose":  # weights: inputs, outputs / groups, kernel; each input element meets all of them
            return prod(left) * prod(right[1:])
        case "Gemm":
            transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
            return prod(out) * left[0 if transposed else -1]
        case "MatMul":
            return prod(out) * left[-1]
        case _:
            return None


def _architecture(ops: Mapping[str, int], work: _Work) -> str:
    convolutional, recurrent = work.part(_CONVOLUTION), {_LSTM, _RECURRENT} & set(work.shares)
    if recurrent and work.part(*recurrent) >= convolutional:
        return "recurrent"
    attends = any(name.rpartition(".")[2] in _ATTENTION_OPS for name in ops)
    attends |= "Softmax" in ops and work.shares.get(_ATTENTION, _Share()).count >= 2
    if attends and convolutional < 0.5:
        return "transformer"
    if _CONVOLUTION in work.shares:
        return "convolutional"
    return "trees" if not work.shares and _trees(ops) else "dense"


def _trees(ops: Mapping[str, int]) -> bool:
    return any(name.rpartition(".")[2] in _TREES for name in ops)


def _precisions(ops: Mapping[str, int], weights: list[_Weight], work: _Work) -> dict[str, Quantizable]:
    names = ("fp16", "bf16", "int8-static", "int8-dynamic")
    quantized = {name: count for name, count in ops.items() if name.rpartition(".")[2] in _QUANTIZED_OPS}
    if quantized:
        name, count = max(quantized.items(), key=lambda entry: entry[1])
        reason = f"the model is already quantized (it has {count} {name} nodes); start from the one in float32"
        return dict.fromkeys(names, Quantizable(possible=False, reason=reason))
    if not work.shares and _trees(ops):
        reason = (
            "it is an ensemble of trees: it compares numbers and multiplies none, so a smaller precision saves nothing"
        )
        return dict.fromkeys(names, Quantizable(possible=False, reason=reason))
    sizes = _bytes_by_dtype(weights)
    main = next(iter(sizes), "")
    if main != "float32":
        reason = f"its weights are {main}; start from the model in float32" if main else "it has no weights"
        return dict.fromkeys(names, Quantizable(possible=False, reason=reason))
    halves = Quantizable(
        possible=True, reason=f"{_percent(sizes[main] / sum(sizes.values()))} of its weights' bytes are float32"
    )
    return {
        "fp16": halves,
        "bf16": halves,
        "int8-static": _static(work),
        "int8-dynamic": _dynamic(work),
    }


def _static(work: _Work) -> Quantizable:
    if work.part(_CONVOLUTION, _PRODUCT, _ATTENTION) < 0.5 or work.part(_CONVOLUTION, _PRODUCT) == 0:
        return Quantizable(
            possible=False, reason=f"too little of its work is convolutions or matrix products{_but(work)}"
        )
    return Quantizable(possible=True, reason=work.told())


def _dynamic(work: _Work) -> Quantizable:
    if work.part(_CONVOLUTION) >= 0.5:
        reason = (
            f"{work.told()}, and dynamic quantization is for matrix products: a convolution would find its activations' "
            "scale anew in every call, which costs about what int8 saves"
        )
        return Quantizable(possible=False, reason=reason)
    if work.part(_PRODUCT, _LSTM) < 0.5:
        return Quantizable(
            possible=False, reason=f"too little of its work is matrix products with constant weights{_but(work)}"
        )
    return Quantizable(possible=True, reason=work.told())


def _but(work: _Work) -> str:
    return f": {work.told()}" if work.part(*work.shares) else ""


def _count(number: int) -> str:
    """``205 M``."""
    size, sign = next(
        ((size, sign) for size, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if number >= size), (1.0, "")
    )
    return f"{number / size:.3g} {sign}".rstrip()


def _percent(part: float) -> str:
    # Rounded down, so that 99.6 % doesn't read as all of it.
    return "all" if part == 1 else f"{int(100 * part)} %"


def _first_line(error: Exception) -> str:
    return next((line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()), type(error).__name__)
