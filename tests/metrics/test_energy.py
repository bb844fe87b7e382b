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
def clock(monkeypatch):
    """The seconds that have passed; only sleeping takes any."""
    passed = [0.0]

    def sleep(seconds: float) -> None:
        passed[0] += seconds

    monkeypatch.setattr(energy.time, "sleep", sleep)
    monkeypatch.setattr(energy.time, "perf_counter", lambda: passed[0])
    return sleep


@pytest.fixture
def sensors(monkeypatch, clock):
    """Makes Zeus see sensors that count this in its windows, the last of them in all that follow; the first one is the probe."""

    def see(*counted: SimpleNamespace) -> energy.Energy:
        left = list(counted)

        class Monitor:
            def __init__(self, **_):
                pass

            def begin_window(self, name, sync_execution):
                pass

            def end_window(self, name, sync_execution):
                return left.pop(0) if len(left) > 1 else left[0]

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
def test_all_sensors_together_are_divided_among_the_calls(sensors, clock, counted, joules):
    metric = sensors(counted)

    assert metric.unsupported() is None
    metric.arm()
    clock(5)
    assert metric.read(10)["per_call"] == pytest.approx(joules / 10)


def test_what_the_machine_takes_while_nothing_is_called_is_told_apart(sensors, clock):
    metric = sensors(window(cpu={0: 1.0}), window(cpu={0: 6.0}), window(cpu={0: 100.0}))
    metric.unsupported()

    metric.arm()  # 6 J in 3 s
    clock(10)
    found = metric.read(50)

    assert found == pytest.approx({"per_call": 2, "power": 10, "idle_per_call": 0.4, "idle": 2})


def test_an_idle_power_above_that_of_work_leaves_nothing_to_the_calls_and_not_less(sensors, clock):
    metric = sensors(window(cpu={0: 90.0}), window(cpu={0: 90.0}), window(cpu={0: 10.0}))
    metric.unsupported()

    metric.arm()
    clock(1)
    found = metric.read(10)

    assert (found["idle"], found["idle_per_call"]) == (found["power"], found["per_call"])


@pytest.mark.parametrize("counted", [window(), window(gpu={0: 100.0})])
def test_without_a_sensor_of_the_cpu_energy_is_unsupported(sensors, counted):
    assert sensors(counted).unsupported().startswith("no energy sensor of the CPU can be read")


def test_counters_that_stand_still_are_not_believed(sensors, clock):
    metric = sensors(window(cpu={0: 0.0}))

    metric.arm()
    clock(5)
    with pytest.raises(EdgeError, match="counted nothing"):
        metric.read(10)


def test_a_driver_that_answers_wrongly_is_a_reason(monkeypatch):
    def broken(**_):
        raise RuntimeError("no such device")

    monkeypatch.setattr(monitoring, "ZeusMonitor", broken)
    energy._monitor.cache_clear()

    assert energy.Energy().unsupported() == "the energy sensors can't be read (no such device)"
    energy._monitor.cache_clear()
