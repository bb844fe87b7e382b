"""A target: the kiosks that we ship to."""

from pytest_edgeai import MB, hookimpl
from pytest_edgeai.records import Hardware, Limits, Target

KIOSK = Target(
    name="kiosk",
    title="Ticket kiosk",
    frameworks=("onnxruntime", "openvino"),
    hardware=Hardware(architectures=("x86_64", "arm64")),
    specificity=50,  # `auto` takes it wherever it fits
    limits=Limits(accuracy_kept=0.98, speedup=1.0, footprint=1.0, package=int(20 * MB), offline=True),
    remarks=("A kiosk gets its packages over a mobile network: 20 MB at most.",),
)


@hookimpl
def edge_targets():
    """The target of this module."""
    return [KIOSK]
