"""An engine that does nothing, so that a turn costs only what is ours."""

from collections.abc import Sequence

from pytest_edgeai import hookimpl
from pytest_edgeai.records import EngineDevice


class Null:
    """Satisfies :class:`pytest_edgeai.protocols.Framework`."""

    name = "null"
    distributions: tuple[str, ...] = ()

    def catalogue(self, *_: object) -> tuple[()]:
        return ()

    def baseline(self, *_: object) -> None:
        return None

    def refusal(self, *_: object) -> None:
        return None

    def reason(self, *_: object) -> str:
        return ""

    def devices(self) -> Sequence[EngineDevice]:
        return (EngineDevice(name="CPU"),)

    def build(self, *_: object) -> None:
        return None

    def load(self, *_: object, **__: object) -> "Runner":
        return Runner()


class Runner:
    """Answers with nothing."""

    def __call__(self, _: object) -> dict[str, object]:
        return {}

    def placement(self) -> dict[str, str]:
        return {}


@hookimpl
def edge_frameworks() -> Sequence[Null]:
    return (Null(),)
