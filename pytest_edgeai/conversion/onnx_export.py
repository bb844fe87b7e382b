"""The export: a model of PyTorch is written as an ONNX file and held against itself, in a worker."""

import importlib.metadata
import math
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from pytest_edgeai.conversion import DISTRIBUTIONS, FILE, RECORD, RUNTIMES
from pytest_edgeai.conversion.source import BATCH, INSTEAD, Axes, Source, Tensors, cause_of, said
from pytest_edgeai.distributions import one_of
from pytest_edgeai.errors import EdgeError, ModelError
from pytest_edgeai.records import Conversion, Origin

LIMIT: Final = 5e-5
"""Of an output's range, that a conversion may be off. Measured on models of up to 110 M parameters (convolutions, ViT, BERT, Wav2Vec2): rounding in float32
comes to 7e-8 to 9e-7, and the other formula of GELU, the least change of what is computed that could go unnoticed, to 1.1e-4 by itself and to 1.6e-4 in ViT-Base."""
LIMIT_16: Final = 1e-2
"""The same of outputs in float16, whose neighbours lie up to 1e-3 apart."""
LARGEST: Final = 2**31 - 2**24
"""Bytes of weights in one file, because that is all that protobuf can write; more go into a file beside it."""
EXPORTER: Final = "torch.onnx.export(dynamo=True)"
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")


def convert(path: str, origin: Origin, working: str, folder: str) -> None:
    """Write ``model.onnx`` and ``conversion.json`` into ``folder``. ``working``: the folder that the user works in.

    Raises EdgeError where the model can't be read, exported, or run by ONNX Runtime, or where the ONNX file computes something else.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = _converted(Path(path), origin, Path(working), Path(folder) / FILE)
    (Path(folder) / RECORD).write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")


def _converted(path: Path, origin: Origin, working: Path, target: Path) -> Conversion:
    source = _read(path, origin, working)
    outputs = list(_first_answer(source))
    exported, source, fixed = _exported(source, outputs)
    opset = _write(exported, source, outputs, target)
    difference, output, limit, batches = _compared(source, target)
    return Conversion(
        source="",  # told by who asks: the same model may lie at several paths
        origin=origin,
        architecture=source.architecture,
        exporter=EXPORTER,
        opset=opset,
        versions={name: importlib.metadata.version(name) for name in (*DISTRIBUTIONS[origin], *one_of(*RUNTIMES))},
        difference=difference,
        output=output,
        limit=limit,
        batches=batches,
        axes=tuple(sorted(source.sizes, key=lambda label: label != BATCH)),
        fixed=fixed,
    )


def _read(path: Path, origin: Origin, working: Path) -> Source:
    from pytest_edgeai.assess import files
    from pytest_edgeai.conversion import folder, function, program

    if origin == "program":
        return program.read(path)
    named = files.function_of(path)
    return function.read(*named, working) if named is not None else folder.read(path)


def _first_answer(source: Source) -> dict[str, Any]:
    """Raises ModelError where the model can't be called on its own example."""
    try:
        return source.answer(source.inputs)
    except EdgeError:
        raise
    except Exception as error:
        shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in source.inputs.items())
        raise ModelError(f"it can't be called on its example inputs ({shapes}): {said(error)}.") from error


# Exporting -------------------------------------------------------------------------------------------------------------------


def _exported(source: Source, outputs: list[str]) -> tuple[Any, Source, dict[str, str]]:
    """The ``torch.onnx.ONNXProgram``, the source with the axes that are dynamic in it, and why others aren't.

    Raises ModelError where PyTorch exports it in no way.
    """
    fixed = {BATCH: source.fixed} if source.fixed else {}
    for axes in _attempts(source):
        trial = source.with_axes(axes)
        try:
            exported = _program(trial, outputs)
        except Exception as error:  # noqa: BLE001 - the exporter's own, told if no attempt succeeds
            last, reason = error, _reason(error)
            continue
        return exported, trial, {**{label: reason for label in source.sizes if label not in trial.sizes}, **fixed}
    raise ModelError(f"it can't be exported to ONNX: {reason}. Change it, or export it yourself.") from last


def _attempts(source: Source) -> Iterator[Axes]:
    """Dynamic axes to try: all, the batch alone, none. A program has what it has."""
    yield source.axes
    if source.program is not None:
        return
    batch = {
        name: {axis: label for axis, label in labels.items() if label == BATCH} for name, labels in source.axes.items()
    }
    if batch != source.axes:
        yield batch
    if any(batch.values()):
        yield {}


def _program(source: Source, outputs: list[str]) -> Any:
    import torch

    program = source.program
    with torch.no_grad():
        if program is None:
            shapes = [
                dict.fromkeys(source.axes.get(name, {}), torch.export.Dim.DYNAMIC) or None for name in source.inputs
            ]
            program = torch.export.export(
                source.module,
                tuple(source.inputs.values()),
                dynamic_shapes={"tensors": tuple(shapes)},
                strict=False,
            )
        return torch.onnx.export(
            program,
            dynamo=True,
            input_names=list(source.inputs),
            output_names=outputs,
            external_data=False,
            verbose=False,
        )


def _write(exported: Any, source: Source, outputs: list[str], target: Path) -> int:
    """The file without what says where and how it was made, so that equal models are equal files; the opset."""
    import onnx

    exported.save(target, external_data=_bytes(exported) > LARGEST)
    model = onnx.load(target, load_external_data=False)
    names = {value.name for value in model.graph.input}
    if names != set(source.inputs) or [value.name for value in model.graph.output] != outputs:
        raise ModelError(
            f"the exporter gave it the inputs {', '.join(sorted(names)) or 'none'}, and it takes {', '.join(source.inputs)}. {INSTEAD}"
        )
    labels = {
        value_axis.dim_param: source.axes[value.name][axis]
        for value in model.graph.input
        for axis, value_axis in enumerate(value.type.tensor_type.shape.dim)
        if value_axis.dim_param and axis in source.axes.get(value.name, {})
    }
    graphs = [model.graph, *model.functions]
    for graph in graphs:
        del graph.metadata_props[:]
        graph.doc_string = ""
        for node in graph.node:
            del node.metadata_props[:]
            node.doc_string = ""
    del model.metadata_props[:]
    for value in [*model.graph.input, *model.graph.output, *model.graph.value_info]:
        del value.metadata_props[:]
        value.doc_string = ""
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_param = re.sub(r"[A-Za-z_]\w*", lambda word: labels.get(word[0], word[0]), axis.dim_param)
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
        tensor.doc_string = ""
    onnx.save(model, target)
    return next(int(one.version) for one in model.opset_import if one.domain in ("", "ai.onnx"))


def _bytes(exported: Any) -> int:
    return sum(int(value.const_value.nbytes) for value in exported.model.graph.initializers.values())


# Comparing -------------------------------------------------------------------------------------------------------------------


def _compared(source: Source, target: Path) -> tuple[float, str, float, tuple[int, ...]]:
    """The largest difference, the output in which it is, its limit, and the batches of the calls.

    Raises ModelError where an output is off by more than its limit.
    """
    session = _session(target)
    worst: tuple[float, str, float] = (0.0, "", LIMIT)
    batches = []
    for inputs, wanted in _calls(source):
        batches.append(source.sizes_of(inputs).get(BATCH, 0))
        got = _run(session, inputs)
        for name, tensor in wanted.items():
            mine = tensor.detach().cpu().numpy()
            found, limit = apart(got[name], mine), LIMIT_16 if mine.dtype == np.float16 else LIMIT
            if found > limit:
                how = (
                    f"differs by up to {100 * found:.2g} % of that output's range, and {100 * limit:.2g} % is rounding"
                    if math.isfinite(found)
                    else "has other whole numbers, another shape, or numbers that aren't finite"
                )
                raise ModelError(
                    f"the ONNX file computes something else: its output '{name}' {how}. Is it random, in training mode, changed by its calls, or other code when it is exported? {INSTEAD}"
                )
            if not worst[1] or found > worst[0]:
                worst = found, name, limit
    return *worst, tuple(batches)


def _calls(source: Source) -> Iterator[tuple[Tensors, dict[str, Any]]]:
    """Inputs and what the model answers: its example, and others of other sizes where it takes such."""
    yield source.inputs, source.answer(source.inputs)
    sizes = source.sizes
    trials = [
        {label: size + 1 for label, size in sizes.items()},
        {label: 2 * size for label, size in sizes.items()},
        sizes,
    ]
    last = None
    for trial in trials:
        inputs = source.draw(trial, 1)
        try:
            answer = source.answer(inputs)
        except Exception as error:  # noqa: BLE001 - a size that the model doesn't take, told if it takes none
            last = error
            continue
        yield inputs, answer
        return
    assert last is not None
    raise ModelError(
        f"it can't be called on other numbers than its example's: {said(last)}. Give example inputs as the model is used with."
    )


def _session(target: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(target), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelError(f"ONNX Runtime can't load what it was converted to ({said(error)}). {INSTEAD}") from error


def _run(session: Any, inputs: Tensors) -> dict[str, NDArray[Any]]:
    try:
        answers = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
    except Exception as error:
        raise ModelError(f"ONNX Runtime can't run what it was converted to ({said(error)}). {INSTEAD}") from error
    return dict(zip((one.name for one in session.get_outputs()), answers, strict=True))


def apart(got: NDArray[Any], wanted: NDArray[Any]) -> float:
    """The largest difference between two outputs, over the range of the wanted one's numbers; infinite for another shape.

    Whole numbers and truth values are alike or not: 0 or infinite. Where all wanted numbers are one, it is over that number's size.
    """
    if got.shape != wanted.shape or got.dtype.kind != wanted.dtype.kind:
        return float("inf")
    if wanted.size == 0:
        return 0.0
    if wanted.dtype.kind != "f":
        return 0.0 if np.array_equal(got, wanted) else float("inf")
    finite = np.isfinite(wanted)
    if not np.array_equal(got[~finite], wanted[~finite], equal_nan=True):
        return float("inf")
    numbers, others = wanted[finite].astype(np.float64), got[finite].astype(np.float64)
    if numbers.size == 0:
        return 0.0
    extent = float(numbers.max() - numbers.min()) or float(abs(numbers).max()) or 1.0
    gap = float(abs(others - numbers).max())
    return gap / extent if gap == gap else float("inf")


def _reason(error: BaseException) -> str:
    """What the exporter says: of a chain of errors the first one, which is the cause, and of that its first line."""
    cause = cause_of(error)
    text = _COLOURS.sub("", str(cause))
    if constant := re.search(r"specialized it to be a constant \((\d+)\)", text):
        return f"the model's code takes it for {constant[1]}"
    lines = [line.strip(" -") for line in text.splitlines() if line.strip()]
    return lines[0].rstrip(".!") if lines else type(cause).__name__
