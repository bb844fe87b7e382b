"""Memory that building and reading a language model of a billion parameters takes, against the size of its weights in float16.

``python -m benchmarks.large_language FOLDER [RECIPE ...]``. It makes a Llama with the sizes of Llama 3.2 1B and random weights in FOLDER (2.5 GB, kept for the next time),
builds each recipe, and reads some text with it; the peak is the most that the workers have resident at one time, files that are mapped included.
It is run by hand: it takes some fifteen minutes, most of them MLX's, 8 GB of memory and 20 GB of disk. Without recipes it tries those of :data:`RECIPES`, and writes
``large_language.md``.
"""

import json
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import psutil

from benchmarks import tables
from benchmarks.tables import Table
from pytest_edgeai.dataset import EVALUATION
from pytest_edgeai.pipeline import Declaration, Run
from pytest_edgeai.progress import Progress
from pytest_edgeai.settings import Settings

TOKENIZER: Final = Path(__file__).parents[1] / "fixtures" / "tiny_lm" / "tiny-lm"
CONFIG: Final[dict[str, Any]] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 128256,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "rope_theta": 500000.0,
    "tie_word_embeddings": True,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "torch_dtype": "bfloat16",
}
RECIPES: Final = ("openvino-int8", "openvino-int4", "llamacpp-q4_k_m", "mlx-int4-g64", "olive-int4")
TEXTS: Final = 4
"""Documents of some fifty tokens each: what is read has no say in the peak, for it is read in chunks."""
LIMIT: Final = 3.0
EVERY: Final = 0.05
"""Seconds between two looks at the workers."""


class Peak:
    """Bytes that this process' descendants have resident at most, pages that they share counted for each; a context manager."""

    def __init__(self) -> None:
        self.bytes = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        here = psutil.Process()
        while not self._over.wait(EVERY):
            total = 0
            for process in here.children(recursive=True):
                try:
                    total += process.memory_info().rss
                except psutil.Error:  # it has just ended
                    continue
            self.bytes = max(self.bytes, total)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()


def make(folder: Path) -> Path:
    """The checkpoint, unless it is there."""
    if (folder / "model.safetensors").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TOKENIZER / name, folder / name)
    shapes = dict(weights())
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    draw, partial = np.random.default_rng(1), folder / "partial"
    with partial.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            values = 0.02 * draw.standard_normal(int(np.prod(shape)), np.float32) + (1.0 if "norm" in name else 0.0)
            stream.write((values.view(np.uint32) >> 16).astype(np.uint16).tobytes())
    partial.rename(folder / "model.safetensors")
    return folder


def weights() -> Iterator[tuple[str, list[int]]]:
    """Name and shape of each."""
    hidden, inner, size = CONFIG["hidden_size"], CONFIG["intermediate_size"], CONFIG["head_dim"]
    queries, keys = CONFIG["num_attention_heads"] * size, CONFIG["num_key_value_heads"] * size
    yield "model.embed_tokens.weight", [CONFIG["vocab_size"], hidden]
    for layer in range(CONFIG["num_hidden_layers"]):
        name = f"model.layers.{layer}"
        for part, shape in {
            "self_attn.q_proj": [queries, hidden],
            "self_attn.k_proj": [keys, hidden],
            "self_attn.v_proj": [keys, hidden],
            "self_attn.o_proj": [hidden, queries],
            "mlp.gate_proj": [inner, hidden],
            "mlp.up_proj": [inner, hidden],
            "mlp.down_proj": [hidden, inner],
            "input_layernorm": [hidden],
            "post_attention_layernorm": [hidden],
        }.items():
            yield f"{name}.{part}.weight", shape
    yield "model.norm.weight", [hidden]


def measure(folder: Path, recipes: Sequence[str]) -> Table:
    """Each recipe, with its engine's baseline."""
    model = make(folder)
    fp16 = sum(2 * int(np.prod(shape)) for _, shape in weights())
    rows = []
    with tempfile.TemporaryDirectory() as name:
        texts = Path(name) / "texts.jsonl"
        words = "the text is read a token at a time and what comes next is guessed " * 3
        texts.write_text("".join(json.dumps({"text": f"{number} {words}"}) + "\n" for number in range(TEXTS)))
        settings = Settings(
            target="cross", recipe=" ".join(recipes), cache=str(folder / "cache"), shape="prompt=16,output=4"
        )
        run = Run(settings, [], Path(name) / "run", "benchmark", Progress(lambda told: print(told, file=sys.stderr)))
        study = run.study(Declaration(model, texts, "auto"))
        known = [
            *(recipe.name for recipe in study.plan.unoptimized),
            *(offer.recipe.name for offer in study.plan.offers),
        ]
        for refusal in study.plan.refusals:
            print(f"{refusal.recipe}: {refusal.reason}", file=sys.stderr)
        for recipe in known:
            begin = time.monotonic()
            with Peak() as building:
                study.variant(recipe)
            built = time.monotonic() - begin
            with Peak() as reading:
                study._evaluation.figures(recipe, EVALUATION)
            peaks = [building.bytes / fp16, reading.bytes / fp16]
            told = ["from the cache" if building.bytes == 0 else f"{peaks[0]:.2f}", f"{peaks[1]:.2f}"]
            rows.append([recipe, f"{built:.0f} s", *told, "yes" if max(peaks) < LIMIT else "no"])
            print(rows[-1], file=sys.stderr)
    note = (
        f"A Llama of {fp16 / 2e9:.2f} billion parameters with random weights in bfloat16. Peaks of what the workers have resident, mapped files included, in units of the weights' "
        f"size in float16 ({fp16 / 1e9:.2f} GB); the engine itself and the interpreter are in them."
    )
    columns = ["variant", "built in", "peak of building", "peak of reading", f"below {LIMIT:g}"]
    return Table("Memory for a language model of a billion parameters", columns, rows, note)


if __name__ == "__main__":
    found = measure(Path(sys.argv[1]), sys.argv[2:] or RECIPES)
    if not sys.argv[2:]:
        tables.publish(Path(__file__).with_suffix(".md"), [found])
    print(found)
