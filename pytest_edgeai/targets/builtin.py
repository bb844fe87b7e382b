"""The built-in targets.

The orders of frameworks are preferences. ONNX Runtime runs an ONNX model almost anywhere, so it comes last wherever it is not
named earlier and the hardware can take such a model at all.
"""

from collections.abc import Sequence

from pytest_edgeai.hookspecs import hookimpl
from pytest_edgeai.records import Hardware, Limits, Target

# Sizes are decimal, as stores and download dialogs show them.
_MB = 1_000_000

# A phone leaves its network's reach and a device in the field may never have one: what is deployed there must answer without. No
# target limits memory or power, because neither belongs to the class: boards have 1 to 64 GB, and their budget is the user's to state.
_OFFLINE = Limits(offline=True)

_NO_ONNX = "MLX and llama.cpp read no ONNX: such a model goes to the frameworks that follow them in the order."
_NO_ONNX_LLAMACPP = "llama.cpp reads no ONNX: such a model goes to the frameworks that follow it in the order."

_ONNX_ENGINES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "olive": "Olive"}
# https://coral.ai/docs/edgetpu/models-intro/#compatibility-overview
_NO_EDGE_TPU = (
    "{} can't execute on an Edge TPU, which runs only 8-bit TensorFlow Lite models compiled for it. Convert and compile the model's source "
    "(edgetpu_compiler) and register a framework plugin that runs the result; what int8 does to the model's accuracy and size can be "
    "judged on a CPU with --edge-target=cross."
)

TARGETS: tuple[Target, ...] = (
    Target(
        name="intel",
        title="Intel CPU, GPU and NPU",
        frameworks=("openvino", "olive", "onnxruntime"),
        language_frameworks=("openvino", "olive"),
        hardware=Hardware(architectures=("x86_64",), vendors=("intel",)),
        # The same instructions, but another microarchitecture: which variant wins may differ, and so may every absolute number.
        stand_in=Hardware(architectures=("x86_64",), vendors=("amd", "generic")),
        specificity=20,
    ),
    Target(
        name="nvidia",
        title="NVIDIA GPU",
        frameworks=("olive", "openvino", "onnxruntime"),
        # llama.cpp and Olive's form for it (olive-cuda) run there; what runs on the CPU is scored and not timed.
        language_frameworks=("olive", "llamacpp", "openvino"),
        hardware=Hardware(accelerators=("gpu:nvidia",)),
        # No stand-in: nothing else executes a GPU's instructions.
        specificity=31,
    ),
    Target(
        name="apple",
        title="Apple silicon Mac",
        frameworks=("mlx", "llamacpp", "onnxruntime"),
        language_frameworks=("mlx", "llamacpp"),
        hardware=Hardware(architectures=("arm64",), vendors=("apple",), systems=("darwin",)),
        # No stand-in: MLX and llama.cpp compute on the GPU here, and other ARM machines have another one.
        specificity=23,
        remarks=(_NO_ONNX,),
    ),
    Target(
        name="arm-mobile",
        title="ARM phone or tablet",
        frameworks=("llamacpp", "openvino", "onnxruntime"),
        language_frameworks=("llamacpp", "openvino"),
        hardware=Hardware(architectures=("arm64",), systems=("android", "ios")),
        # Any 64-bit ARM machine runs the same code on its CPU; it shows which variant is faster, not how fast a phone is.
        stand_in=Hardware(architectures=("arm64",), systems=("linux", "darwin", "windows")),
        specificity=22,
        limits=_OFFLINE,
        remarks=(_NO_ONNX_LLAMACPP,),
    ),
    Target(
        name="embedded-arm",
        title="Embedded ARM board with Linux",
        frameworks=("llamacpp", "openvino", "onnxruntime"),
        language_frameworks=("llamacpp", "openvino"),
        # The makers of chips for boards. Arm's own cores are in servers, too, and can't be told from the outside; makers of server
        # chips only (Ampere, Fujitsu, HiSilicon) and Apple are left out. "generic": the maker can't be read.
        hardware=Hardware(
            architectures=("arm64", "armv7"),
            vendors=("arm", "broadcom", "marvell", "nvidia", "qualcomm", "samsung", "generic"),
            systems=("linux",),
        ),
        stand_in=Hardware(architectures=("arm64",), systems=("linux", "darwin", "windows")),  # as for arm-mobile
        specificity=21,
        limits=_OFFLINE,
        remarks=(_NO_ONNX_LLAMACPP,),
    ),
    Target(
        name="edge-tpu",
        title="Google Coral Edge TPU",
        # Without ONNX Runtime: an Edge TPU takes no ONNX model.
        frameworks=("openvino", "olive"),
        hardware=Hardware(accelerators=("tpu:coral",)),
        specificity=30,
        limits=_OFFLINE,
        # https://coral.ai/docs/edgetpu/models-intro/#compatibility-overview
        remarks=(
            (
                "Neither OpenVINO nor Olive executes on an Edge TPU, which runs only TensorFlow Lite models compiled for it; a framework "
                "plugin can supply an engine that does."
            ),
        ),
        refuses={name: _NO_EDGE_TPU.format(engine) for name, engine in _ONNX_ENGINES.items()},
    ),
    Target(
        name="cross",
        title="Any platform",
        frameworks=("onnxruntime", "openvino", "olive"),
        language_frameworks=("llamacpp",),
        specificity=1,
    ),
    Target(
        name="enterprise",
        title="Enterprise deployment",
        frameworks=("olive", "openvino", "onnxruntime"),
        language_frameworks=("olive", "openvino"),
        specificity=0,
    ),
    Target(
        name="ios",
        title="iPhone or iPad app",
        frameworks=("mlx", "llamacpp", "onnxruntime"),
        language_frameworks=("mlx", "llamacpp"),
        # 64-bit ARM only: on another architecture it is the simulator, whose speed is the Mac's.
        hardware=Hardware(architectures=("arm64",), systems=("ios",)),
        # The same maker's cores, GPU family and Metal.
        stand_in=Hardware(architectures=("arm64",), vendors=("apple",), systems=("darwin",)),
        specificity=33,
        limits=Limits(package=50 * _MB, offline=True),
        remarks=(_NO_ONNX,),
    ),
    Target(
        name="android",
        title="Android app",
        frameworks=("llamacpp", "openvino", "onnxruntime"),
        language_frameworks=("llamacpp", "openvino"),
        # ARM only: an x86 Android is an emulator or a laptop, whose speed is not a phone's.
        hardware=Hardware(architectures=("arm64", "armv7"), systems=("android",)),
        stand_in=Hardware(architectures=("arm64",), systems=("linux",)),  # the same instructions under the same kernel
        specificity=32,
        limits=Limits(package=100 * _MB, offline=True),
        remarks=(_NO_ONNX_LLAMACPP,),
    ),
)


@hookimpl
def edge_targets() -> Sequence[Target]:
    """The built-in targets."""
    return TARGETS
