"""The bare loop: the leanest that times a model with an engine's Python interface, in a process of its own.

``python benchmarks/bare.py ENGINE FILE INPUTS THREADS [KEY=VALUE ...]``. It knows nothing of the package but the constant work that is done between
the goes. It answers each line ``FIRST CALLS CANARIES`` on its standard input with one line of JSON: the seconds of each call by our clock and by
the engine's own, where it has one; so it waits between the goes as a worker does. ``KEY=VALUE`` are ONNX Runtime's session config entries, or
properties of OpenVINO's CPU plugin.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from pytest_edgeai.measure.canary import Canary

Item = dict[str, Any]
Call = Callable[[Item], object]
Clock = Callable[[], float]
"""Seconds of the last call by the engine's own clock."""


def onnxruntime(file: str, threads: int, config: dict[str, str], _: Item) -> tuple[Call, Clock | None]:
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    for key, value in config.items():
        options.add_session_config_entry(key, value)
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda item: session.run(None, item), None


def openvino(file: str, threads: int, config: dict[str, str], first: Item) -> tuple[Call, Clock | None]:
    import openvino

    core = openvino.Core()
    model = core.read_model(file)
    model.reshape({name: list(array.shape) for name, array in first.items()})
    options = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, **config}
    request = core.compile_model(model, "CPU", options).create_infer_request()
    memory = {name: request.get_tensor(name).data for name in first}

    def call(item: Item) -> object:
        for name, array in item.items():
            memory[name][...] = array
        return request.infer()

    return call, lambda: request.latency * 1e-3


def main(engine: str, file: str, inputs: str, threads: str, *config: str) -> None:
    with np.load(inputs) as stacked:
        arrays = dict(stacked)
    count = len(next(iter(arrays.values())))
    items = [{name: array[index] for name, array in arrays.items()} for index in range(count)]
    load = {"onnxruntime": onnxruntime, "openvino": openvino}[engine]
    call, clock = load(file, int(threads), dict(entry.split("=") for entry in config), items[0])
    canary = Canary(int(threads))
    for line in sys.stdin:
        first, calls, canaries = map(int, line.split())
        seconds, engine = [], []
        for number in range(calls):
            item = items[(first + number) % count]
            begin = time.perf_counter_ns()
            call(item)
            end = time.perf_counter_ns()
            seconds.append((end - begin) * 1e-9)
            if clock is not None:
                engine.append(clock())
        for _ in range(canaries):
            canary.run()
        print(json.dumps([seconds, engine]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
