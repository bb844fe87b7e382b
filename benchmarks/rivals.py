"""Rivals of our search, each in a process of its own: ``python -m benchmarks.rivals NAME MODEL ITEMS OUT SECONDS``.

- ``olive``: Olive's workflow with its own search. What it searches is its quantization of ONNX models (static and dynamic, all parameters that the pass declares
  to be searched), by its TPE sampler, for accuracy and latency as its evaluator measures them; the models that it puts out.
- ``nncf``: NNCF's post-training quantization as it is by default, for OpenVINO.
- ``onnxruntime``: ONNX Runtime's static and dynamic quantization as they are by default, after its own preparation of the model.

``ITEMS``: an ``.npz`` with arrays of calibration items (``calibration/NAME``), selection items (``selection/NAME``), the labels of the latter and how many classes
there are. Each model is put into a folder of its own in ``OUT``.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np


def olive(model: Path, items: Path, out: Path, seconds: int) -> None:
    """Search for so long. Raises whatever Olive does."""
    import torch
    from olive.data.registry import Registry
    from olive.workflows import run

    arrays = np.load(items)

    class Items(torch.utils.data.Dataset):
        """``(inputs of one item, label)``."""

        def __init__(self, part: str) -> None:
            prefix = f"{part}/"
            self._arrays = {name.removeprefix(prefix): arrays[name] for name in arrays.files if name.startswith(prefix)}
            self._labels = arrays["labels"]

        def __len__(self) -> int:
            return len(next(iter(self._arrays.values())))

        def __getitem__(self, place: int) -> Any:
            label = int(self._labels[place % len(self._labels)])
            return {name: array[place] for name, array in self._arrays.items()}, label

    @Registry.register_dataset("edge_calibration")
    def calibration(**_: Any) -> Items:
        return Items("calibration")

    @Registry.register_dataset("edge_selection")
    def selection(**_: Any) -> Items:
        return Items("selection")

    @Registry.register_post_process("edge_class")
    def likeliest(outputs: Any, **_: Any) -> Any:
        logits = outputs["logits"] if isinstance(outputs, dict) else outputs
        return torch.as_tensor(logits).argmax(-1)

    def data(name: str, dataset: str) -> dict[str, Any]:
        return {
            "name": name,
            "type": "DataContainer",
            "load_dataset_config": {"type": dataset, "params": {}},
            "pre_process_data_config": {"type": "skip_pre_process"},
            "post_process_data_config": {"type": "edge_class"},
            "dataloader_config": {"type": "default_dataloader", "params": {"batch_size": 1}},
        }

    latency = {"name": "avg", "priority": 2, "higher_is_better": False}
    accuracy = {
        "name": "accuracy_score",
        "priority": 1,
        "higher_is_better": True,
        "metric_config": {"task": "multiclass", "num_classes": int(arrays["classes"])},
        "goal": {"type": "max-degradation", "value": 0.05},
    }
    with tempfile.TemporaryDirectory() as scratch:
        config = {
            "input_model": {"type": "ONNXModel", "model_path": str(model)},
            "systems": {"here": {"type": "LocalSystem", "accelerators": [{"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}]}},
            "data_configs": [data("calibration", "edge_calibration"), data("selection", "edge_selection")],
            "evaluators": {
                "judge": {
                    "type": "OnnxEvaluator",  # without it Olive 0.13 takes the evaluator for a file
                    "metrics": [
                        {"name": "accuracy", "type": "accuracy", "backend": "torch_metrics", "data_config": "selection", "sub_types": [accuracy]},
                        {"name": "latency", "type": "latency", "data_config": "selection", "sub_types": [latency]},
                    ]
                }
            },
            "passes": {"quantize": {"type": "OnnxQuantization", "data_config": "calibration"}},
            "search_strategy": {
                "execution_order": "joint",
                "sampler": "tpe",
                "sampler_config": {"seed": 0, "max_samples": 1000},
                "max_time": seconds,
                "output_model_num": 5,
            },
            "host": "here",
            "target": "here",
            "evaluator": "judge",
            "cache_dir": f"{scratch}/cache",
            "output_dir": f"{scratch}/out",
            "log_severity_level": 3,
        }  # fmt: skip
        found = run(config)
        for place, candidate in enumerate(found.get_output_models()):
            (out / str(place)).mkdir()
            shutil.copy(candidate.model_path, out / str(place) / "model.onnx")


def nncf(model: Path, items: Path, out: Path, seconds: int) -> None:  # noqa: ARG001 - it takes what it takes
    """Calibrated with all calibration items: its default takes 300 of them at most."""
    import nncf as quantizer
    import openvino

    network = openvino.Core().read_model(model)
    network = quantizer.quantize(network, quantizer.Dataset(_calls(items, "calibration")))
    (out / "0").mkdir()
    openvino.save_model(network, out / "0" / "model.xml", compress_to_fp16=False)


def onnxruntime(model: Path, items: Path, out: Path, seconds: int) -> None:  # noqa: ARG001 - it takes what it takes
    """Both kinds."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc] # of a package without types
        def __init__(self) -> None:
            self._calls = iter(_calls(items, "calibration"))

        def get_next(self) -> Any:
            return next(self._calls, None)

    with tempfile.TemporaryDirectory() as scratch:
        prepared = f"{scratch}/prepared.onnx"
        quant_pre_process(str(model), prepared, skip_symbolic_shape=True)
        for place in ("0", "1"):
            (out / place).mkdir()
        quantize_static(prepared, str(out / "0" / "model.onnx"), Reader())
        quantize_dynamic(prepared, str(out / "1" / "model.onnx"))


def _calls(items: Path, part: str) -> list[dict[str, Any]]:
    """One item each, with a batch axis of one."""
    arrays = np.load(items)
    found = {name.partition("/")[2]: arrays[name] for name in arrays.files if name.startswith(f"{part}/")}
    count = len(next(iter(found.values())))
    return [{name: array[place : place + 1] for name, array in found.items()} for place in range(count)]


RIVALS = {"olive": olive, "nncf": nncf, "onnxruntime": onnxruntime}

if __name__ == "__main__":
    name, *paths, budget = sys.argv[1:]
    RIVALS[name](*map(Path, paths), int(budget))  # type: ignore[arg-type] # a model, items, and where to
