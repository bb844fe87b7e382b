"""Devices of tests: records, whatever the machine is that the tests run on."""

import msgspec

from pytest_edgeai.records import Device

VNNI = Device(
    name="here",
    system="linux",
    architecture="x86_64",
    vendor="intel",
    cpu="a CPU",
    features=("avx2", "avx512_vnni"),
    cores=2,
    memory_bytes=2**33,
)
"""One that multiplies 8-bit integers well."""
OLD = msgspec.structs.replace(VNNI, name="old", features=("avx2", "fma"))
