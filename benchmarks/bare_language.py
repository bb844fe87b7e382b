"""The bare loop of a language model: the leanest that times an engine's own Python interface, in a process of its own.

``python benchmarks/bare_language.py ENGINE FOLDER PROMPTS THREADS OPTIONS``, where FOLDER has what the engine loads and OPTIONS are properties of OpenVINO as JSON. It
knows nothing of the package but the constant work that is done between the goes, and what it changes in networks of OpenVINO and MLX that were read from files: both run the same network. It answers each line ``FIRST CALLS CANARIES`` on its standard input with one
line of JSON: the tokens a second of each call's prompt, and of its tokens after the first one.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pytest_edgeai.measure.canary import Canary

Generate = Callable[[Any, int], Iterator[int]]
"""(prompt, how many tokens) -> the likeliest ones after it."""


def llamacpp(folder: Path, threads: int, room: int, _: dict[str, Any]) -> Generate:
    import llama_cpp

    model = llama_cpp.Llama(
        str(folder / "model.gguf"),
        n_ctx=room,
        n_batch=512,
        n_ubatch=512,
        n_threads=threads,
        n_threads_batch=threads,
        verbose=False,
    )
    size, one = model.n_vocab(), (llama_cpp.llama_token * 1)()

    def generate(prompt: Any, count: int) -> Iterator[int]:
        context = model.ctx  # which keeps the model
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        tokens = (llama_cpp.llama_token * len(prompt))(*prompt.tolist())
        llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(tokens, len(prompt)))
        for left in range(count - 1, -1, -1):
            logits = np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, -1), (size,))
            one[0] = int(logits.argmax())
            yield one[0]
            if left:
                llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(one, 1))

    return generate


def mlx(folder: Path, *_: Any) -> Generate:
    import mlx.core as mx
    from mlx_lm.generate import generate_step
    from mlx_lm.utils import load_model

    from pytest_edgeai.frameworks.mlx import prepare

    network, config = load_model(folder, lazy=True)
    network = prepare(network, quantized="quantization" in config)

    def generate(prompt: Any, count: int) -> Iterator[int]:
        for token, _logs in generate_step(mx.array(prompt), network, max_tokens=count):
            yield int(token)

    return generate


def openvino(folder: Path, threads: int, room: int, options: dict[str, Any]) -> Generate:
    import openvino as ov

    from pytest_edgeai.frameworks.openvino.language import prepare

    file = next(folder.glob("*.xml"))
    core = ov.Core()
    network = core.read_model(file)
    prepare(network)
    request = core.compile_model(network, "CPU", {"INFERENCE_NUM_THREADS": threads, **options}).create_infer_request()
    mask, places = np.ones((1, room), np.int64), np.arange(room)[None]
    request.set_tensor("beam_idx", ov.Tensor(np.zeros(1, np.int32)))
    request.set_tensor("logits_to_keep", ov.Tensor(np.ones(1, np.int64)))

    def generate(prompt: Any, count: int) -> Iterator[int]:
        request.reset_state()
        tokens, past = prompt[None].astype(np.int64), 0
        for _ in range(count):
            length = past + tokens.shape[1]
            given = {"input_ids": tokens, "attention_mask": mask[:, :length], "position_ids": places[:, past:length]}
            logits = request.infer(given, share_inputs=True, share_outputs=True)["logits"]
            tokens, past = logits[:, -1].argmax(-1, keepdims=True), length
            yield int(tokens[0, 0])

    return generate


def olive(folder: Path, threads: int, *_: Any) -> Generate:
    import onnxruntime_genai as og

    config = og.Config(str(folder))
    session = {"intra_op_num_threads": threads, "inter_op_num_threads": 1, "session.force_spinning_stop": "1"}
    config.overlay(json.dumps({"model": {"eos_token_id": -1, "decoder": {"session_options": session}}}))
    model = og.Model(config)

    def generate(prompt: Any, count: int) -> Iterator[int]:
        parameters = og.GeneratorParams(model)
        parameters.set_search_options(max_length=len(prompt) + count, do_sample=False)
        generator = og.Generator(model, parameters)
        generator.append_tokens(prompt.astype(np.int32))
        for _ in range(count):
            generator.generate_next_token()
            yield int(generator.get_next_tokens()[0])

    return generate


def main(engine: str, folder: str, prompts: str, threads: str, options: str) -> None:
    with np.load(prompts) as found:
        calls, output = found["prompt"], int(found["output"][0])
    load = {"llamacpp": llamacpp, "mlx": mlx, "openvino": openvino, "olive": olive}[engine]
    generate = load(Path(folder), int(threads), calls.shape[1] + output, json.loads(options))
    canary = Canary(int(threads))
    for line in sys.stdin:
        first, count, canaries = map(int, line.split())
        prefill, decode = [], []
        for number in range(first, first + count):
            prompt = calls[number % len(calls)]
            begin = time.perf_counter_ns()
            known = [time.perf_counter_ns() for _ in generate(prompt, output)]
            prefill.append(len(prompt) / ((known[0] - begin) * 1e-9))
            decode.append((output - 1) / ((known[-1] - known[0]) * 1e-9))
        for _ in range(canaries):
            canary.run()
        print(json.dumps([prefill, decode]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
