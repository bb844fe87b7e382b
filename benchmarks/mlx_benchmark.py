"""``mlx_lm benchmark``, but for the network: it is the one that the package runs, which is in float32 on a CPU."""

from typing import Any

from mlx_lm import benchmark

from pytest_edgeai.frameworks.mlx import prepare

load = benchmark.load


def prepared(*arguments: Any, **options: Any) -> tuple[Any, Any, Any]:
    network, tokenizer, config = load(*arguments, lazy=True, **options)
    return prepare(network, quantized="quantization" in config), tokenizer, config


if __name__ == "__main__":
    benchmark.load = prepared
    benchmark.main()
