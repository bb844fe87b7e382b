"""The worker with a language model: phases, what metrics read, what is refused."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from language import checkpoints

from pytest_edgeai import arrays, registry
from pytest_edgeai.errors import ModelError, UnsupportedError
from pytest_edgeai.judge.quantities import units
from pytest_edgeai.measure.worker import Bench
from pytest_edgeai.records import Recipe

MODULES = ["fake_language", "fake_sensors", "pytest_edgeai.metrics.latency", "pytest_edgeai.metrics.cold_start"]
OUTPUT = 4


@pytest.fixture
def bench(tmp_path: Path):
    """Loads the fake engine's variant by its method."""
    folder = checkpoints.make(tmp_path / "model", "llama")
    prompts = np.random.default_rng(1).integers(0, 80, (3, 6)).astype(np.int32)
    arrays.write(tmp_path / "prompts.npz", {"prompt": prompts, "output": np.full(3, OUTPUT)})

    def load(method: str = "", *metrics: str) -> Bench:
        made = Bench(MODULES)
        recipe = msgspec.to_builtins(Recipe(framework="lm", precision="int8", method=method))
        made.loaded = made.load(recipe, str(folder), str(tmp_path / "prompts.npz"), 1, list(metrics))
        return made

    return load


def test_a_call_shows_all_phases(bench) -> None:
    columns = bench().phases(0, 5, 2, first_token=False)

    assert {name: len(values) for name, values in columns["columns"].items()} == {
        **dict.fromkeys(("ttft", "prefill", "tpot", "decode", "end_to_end"), 5),
        "itl": 5 * (OUTPUT - 1),
    }
    assert len(columns["canary"]) == 2


def test_a_first_token_alone_shows_its_own_phase(bench) -> None:
    assert bench().phases(0, 2, 0, first_token=True)["columns"].keys() == {"ttft", "prefill"}


def test_slow_tokens_show_in_decoding_and_not_in_the_rest(bench) -> None:
    slow = bench("slow")

    assert slow.phase("decode", 0, 5)["seconds"] >= 5 * (OUTPUT - 1) * 1e-3


def test_the_start_is_read_as_for_any_model(bench) -> None:
    assert bench("", "cold_start").loaded["readings"]["cold_start"]["cold_start"] > 0


def test_what_is_read_for_each_call_is_read_for_each_token(bench) -> None:
    found = bench().block("work", 0, 0.0)

    assert found == {"per_token": 12 / OUTPUT, "calls": OUTPUT}
    assert {"work.per_token", "work.calls"} <= units(registry.load(MODULES).metrics.values(), language=True).keys()


def test_a_state_left_from_the_call_before_is_found_when_it_is_loaded(bench) -> None:
    with pytest.raises(ModelError, match="what is timed is not what is scored"):
        bench("stale")


def test_a_model_of_tensors_has_no_phases() -> None:
    made = Bench(MODULES)
    made._runner = lambda inputs: {}

    with pytest.raises(UnsupportedError, match="it is no language model"):
        made.phase("decode", 0, 1)
