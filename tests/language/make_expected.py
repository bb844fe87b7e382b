"""Write ``expected.npz``: what transformers compute for the checkpoints of these tests. Needs the ``train`` extra: ``python tests/language/make_expected.py``."""

import tempfile
from pathlib import Path

import checkpoints
import numpy as np
import torch
from transformers import AutoModelForCausalLM

TOKENS = np.random.default_rng(3).integers(0, checkpoints.VOCABULARY, 48)


def main() -> None:
    """All kinds."""
    found = {}
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        for kind in checkpoints.CONFIGS:
            made = checkpoints.make(Path(folder) / kind, kind)
            model = AutoModelForCausalLM.from_pretrained(
                made, dtype=torch.float32, attn_implementation="eager"
            ).double()
            logits = model(torch.tensor(TOKENS[None])).logits[0]
            found[kind] = torch.log_softmax(logits, -1).numpy().astype(np.float32)
    np.savez_compressed(Path(__file__).with_name("expected.npz"), tokens=TOKENS, **found)


if __name__ == "__main__":
    main()
