"""Remedies: a problem's words lead to what mends it."""

import pytest

from pytest_edgeai.doctor.remedies import mend
from pytest_edgeai.records import Device

PLAIN = Device(
    name="a-device", system="linux", architecture="x86_64", vendor="intel", cpu="A CPU",
    features=("avx2",), cores=2, memory_bytes=8_000_000_000,
)  # fmt: skip
AMX = Device(
    name="a-device", system="linux", architecture="x86_64", vendor="intel", cpu="A CPU",
    features=("amx_int8", "amx_tile", "avx2"), cores=2, memory_bytes=8_000_000_000,
)  # fmt: skip


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        ("ModuleNotFoundError: No module named 'nncf.torch'", "a Python module is missing: pip install nncf, or "),
        ("ImportError: libGL.so.1: cannot open shared object file: No such file", "apt-get install libgl1"),
        (
            "ImportError: libodd.so.7: cannot open shared object file",
            "install the system's package that has libodd.so.7",
        ),
        ("ImportError: /lib/libm.so.6: version `GLIBC_2.38' not found", "built for a newer system"),
        ("ImportError: libstdc++.so.6: version `GLIBCXX_3.4.32' not found", "built for a newer system"),
        ("ImportError: numpy.core.multiarray failed to import", "another numpy"),
        ("ValueError: numpy.dtype size changed, may indicate binary incompatibility", "another numpy"),
        ("killed by SIGILL", "instructions that this CPU lacks"),
        ("killed by SIGSEGV", "native code crashed"),
        ("killed by SIGABRT", "native code crashed"),
        ("killed by SIGKILL; the system may have run out of memory", "for memory"),
        ("no answer within 120 s", "a longer --timeout"),
        ("it computes wrong numbers: the outputs hold NaN or infinity", "don't trust what it measures"),
        ("RuntimeError: something else", "pip install --force-reinstall engine helper, or another version"),
    ],
)
def test_a_problem_is_answered_with_what_mends_it(problem, expected):
    assert expected in mend(problem, PLAIN, ("engine", "helper"))


def test_a_crash_where_the_cpu_shows_amx_is_answered_with_a_build_without_it():
    told = mend("killed by SIGSEGV", AMX, ("llama-cpp-python",))

    assert "AMX" in told
    assert "-DGGML_NATIVE=OFF" in told


def test_what_a_plugin_says_can_not_make_more_than_one_line():
    assert "\n" not in mend("RuntimeError: one\ntwo", PLAIN, ("engine",))
