"""A target plugin for the tests: any machine, in a place without a network."""

from pytest_edgeai import hookimpl
from pytest_edgeai.records import Limits, Target


@hookimpl
def edge_targets():
    return (Target(name="cellar", title="A cellar", frameworks=("fake",), limits=Limits(offline=True)),)
