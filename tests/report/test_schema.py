"""The documented schema of results.json is the one that is written."""

from pathlib import Path

from pytest_edgeai.report.schema import schema

COMMITTED = Path(__file__).parents[2] / "docs" / "results.schema.json"


def test_the_committed_schema_is_the_one_of_the_records():
    assert COMMITTED.read_text() == schema(), "run `make schema`"
