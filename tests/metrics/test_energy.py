"""Energy: every sensor counts, and none that leaves out the CPU is believed."""

from types import SimpleNamespace

import pytest

from pytest_edgeai.errors import EdgeError
from pytest_edgeai.metrics import energy

monitoring = pytest.importorskip("zeus.monitor", reason="reading the sensors needs zeus")


def window(cpu=None, dram=None, gpu=None, soc=None) -> SimpleNamespace:
    """What Zeus hands back for a window."""
    return SimpleNamespace(cpu_energy=cpu, dram_energy=dram, gpu_energy=gpu or {}, soc_energy=soc)


@pytest.fixture
def sensors(monkeypatch):
    """Makes Zeus see sensors that count this in every window."""

    def see(counted: SimpleNamespace) -> energy.Energy:
        class Monitor:
            def __init__(self, **_):
                pass

            def begin_window(self, name, sync_execution):
                pass

            def end_window(self, name, sync_execution):
                return counted

        monkeypatch.setattr(monitoring, "ZeusMonitor", Monitor)
        energy._monitor.cache_clear()
        return energy.Energy()

    yield see
    energy._monitor.cache_clear()


@pytest.mark.parametrize(
    ("counted", "joules"),
    [
        (window(cpu={0: 30.0, 1: 10.0}, dram={0: 3.0}), 43),
        (window(cpu={0: 30.0}, gpu={0: 100.0, 1: 20.0}), 150),
        (window(soc=SimpleNamespace(cpu_total_mj=5000, dram_mj=1000, gpu_mj=None, gpu_sram_mj=None, ane_mj=0)), 6),
        (window(soc=SimpleNamespace(total_energy_mj=9000, cpu_energy_mj=5000, gpu_energy_mj=1000)), 9),
    ],
)
def test_all_sensors_together_are_divided_among_the_calls(sensors, counted, joules):
    metric = sensors(counted)

    assert metric.unsupported() is None
    metric.arm()
    assert metric.read(10)["per_call"] == pytest.approx(joules / 10)


@pytest.mark.parametrize("counted", [window(), window(gpu={0: 100.0})])
def test_without_a_sensor_of_the_cpu_energy_is_unsupported(sensors, counted):
    assert sensors(counted).unsupported().startswith("no energy sensor of the CPU can be read")


def test_counters_that_stand_still_are_not_believed(sensors):
    metric = sensors(window(cpu={0: 0.0}))

    metric.arm()
    with pytest.raises(EdgeError, match="counted nothing"):
        metric.read(10)


def test_a_driver_that_answers_wrongly_is_a_reason(monkeypatch):
    def broken(**_):
        raise RuntimeError("no such device")

    monkeypatch.setattr(monitoring, "ZeusMonitor", broken)
    energy._monitor.cache_clear()

    assert energy.Energy().unsupported() == "the energy sensors can't be read (no such device)"
    energy._monitor.cache_clear()
