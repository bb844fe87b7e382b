"""Tasks of lm-evaluation-harness that lie in a folder: YAML files with their data beside them."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

CHOICES = """
output_type: multiple_choice
doc_to_text: "{{context}}"
doc_to_choice: "{{choices}}"
doc_to_target: answer
target_delimiter: ""
"""
ACC = """
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
  - metric: acc_norm
    aggregation: mean
    higher_is_better: true
"""
ONE = """
output_type: loglikelihood
doc_to_text: "{{context}}"
doc_to_target: "{{choices[answer]}}"
target_delimiter: ""
metric_list:
  - metric: perplexity
    aggregation: perplexity
    higher_is_better: false
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""
WHOLE = """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{context}}"
metric_list:
  - metric: word_perplexity
"""


def write(folder: Path, name: str, documents: Iterable[Mapping[str, Any]], rest: str = CHOICES + ACC) -> Path:
    """The YAML file of a task ``name``."""
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in documents))
    head = (
        f"task: {name}\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    test: {name}.jsonl\ntest_split: test\n"
    )
    (folder / f"{name}.yaml").write_text(head + rest)
    return folder / f"{name}.yaml"
