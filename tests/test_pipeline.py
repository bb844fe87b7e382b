"""A study: what it keeps in mind between one thing that is asked of it and the next."""

from pathlib import Path
from typing import Any

import models
import msgspec
import pytest

from pytest_edgeai import build
from pytest_edgeai.errors import UnsupportedError
from pytest_edgeai.pipeline import Declaration, Run
from pytest_edgeai.progress import Progress
from pytest_edgeai.settings import Settings


def test_what_an_engine_can_not_make_is_not_tried_again_for_what_is_only_loaded_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.convolutional(tmp_path / "model.onnx")
    models.items(tmp_path / "items.npz", tmp_path / "model.onnx")
    settings = Settings(target="cross", cache=str(tmp_path / "cache"))
    run = Run(settings, [], tmp_path / "run", "test", Progress(lambda _: None))
    study = run.study(Declaration(tmp_path / "model.onnx", tmp_path / "items.npz", "auto"))
    asked = list[str]()

    def refused(ingredients: build.Ingredients, *_: Any) -> None:
        asked.append(ingredients.recipe.name)
        raise UnsupportedError(f"{ingredients.recipe.name}: the model has no zeros.")

    monkeypatch.setattr(build, "build", refused)
    plain = next(offer.recipe for offer in study.plan.offers if offer.recipe.name == "onnxruntime-int8-static")
    loaded, other = (msgspec.structs.replace(plain, tuning=tuning) for tuning in ({"threads": 1}, {"batch": 2}))
    for recipe in (loaded, other):
        assert study.admit(recipe) is None

    for recipe in (plain, loaded, other):
        with pytest.raises(UnsupportedError, match="the model has no zeros"):
            study.variant(recipe.name)

    assert asked == [plain.name, other.name]  # another batch is another file
