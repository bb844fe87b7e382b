"""Remedies: a problem's words lead to what mends it."""

import msgspec
import pytest

from pytest_edgeai.device import FEATURES
from pytest_edgeai.doctor import llamacpp
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
    told = mend("killed by SIGSEGV", AMX, ("engine",))

    assert "a process may not use it" in told
    assert "use a build without them" in told


def test_llama_cpp_is_compiled_for_what_the_cpu_has_and_never_for_amx():
    told = mend("killed by SIGSEGV", AMX, ("llama-cpp-python", "gguf"))

    assert "-DGGML_NATIVE=OFF -DGGML_SSE42=OFF -DGGML_AVX=OFF -DGGML_AVX2=ON -DGGML_BMI2=ON -DGGML_FMA=OFF" in told
    assert "-DGGML_AVX512=OFF" in told
    assert "AMX_" not in told


def test_llama_cpp_that_crashes_without_amx_is_not_told_of_it():
    assert "AMX" not in mend("killed by SIGSEGV", PLAIN, ("llama-cpp-python",))


@pytest.mark.parametrize(("system", "architecture"), [("linux", "arm64"), ("darwin", "arm64"), ("darwin", "x86_64")])
def test_where_the_build_as_it_comes_is_right_nothing_is_asked_of_it(system, architecture):
    there = msgspec.structs.replace(AMX, system=system, architecture=architecture)

    assert llamacpp.cmake_args(there) == ""
    assert llamacpp.rebuild(there).startswith("pip install ")


def test_llama_cpp_is_compiled_so_from_the_start():
    assert llamacpp.compiled(AMX, "pip install 'pytest-edgeai[llamacpp]'").startswith('CMAKE_ARGS="-DGGML_NATIVE=OFF ')


def test_every_instruction_that_is_asked_for_is_one_that_the_device_tells():
    asked = {name for needed in llamacpp._NEEDED.values() for name in needed}

    assert asked <= set(FEATURES["x86_64"])


def test_what_a_plugin_says_can_not_make_more_than_one_line():
    assert "\n" not in mend("RuntimeError: one\ntwo", PLAIN, ("engine",))
