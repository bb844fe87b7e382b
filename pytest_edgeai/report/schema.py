"""The schema of ``results.json``, made from the records."""

import json

import msgspec

from pytest_edgeai.records import Results


def schema() -> str:
    """JSON Schema (draft 2020-12) of :class:`~pytest_edgeai.records.Results`, as committed in ``docs/results.schema.json``."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "results.json of pytest-edgeai"}
    return json.dumps(head | msgspec.json.schema(Results), indent=2, sort_keys=True) + "\n"
