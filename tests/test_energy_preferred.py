"""Energy has a say in the choice where it is preferred and can be read."""

from types import SimpleNamespace

import pytest
from test_choosing import figure

from pytest_edgeai.errors import UnsupportedError
from pytest_edgeai.pipeline import Study


def energy_of(preferred: dict[str, float], *, language: bool = False, sensor: bool = True) -> dict[str, object]:
    figures: dict[str, dict[str, object]] = {}

    def estimate(name: str, quantity: str) -> None:
        if not sensor:
            raise UnsupportedError("there is no sensor.")
        figures.setdefault(name, {})[quantity] = figure(2.0, "J")

    study = SimpleNamespace(
        run=SimpleNamespace(preferred=preferred),
        sampling=SimpleNamespace(estimate=estimate),
        _figures=figures,
        _language=object() if language else None,
    )
    return Study._energy(study, "zeta-int8")  # type: ignore[arg-type]


@pytest.mark.parametrize(("language", "quantity"), [(False, "energy.per_call"), (True, "energy.per_token")])
def test_it_is_measured_where_it_is_preferred(language, quantity):
    assert energy_of({"energy": 0.5, "latency": 0.5}, language=language) == {quantity: figure(2.0, "J")}


@pytest.mark.parametrize("preferred", [{}, {"latency": 1.0}, {"energy": 0.0, "latency": 1.0}])
def test_nobody_waits_for_it_where_it_is_not(preferred):
    assert energy_of(preferred) == {}


def test_without_a_sensor_it_has_no_say():
    assert energy_of({"energy": 1.0}, sensor=False) == {}
