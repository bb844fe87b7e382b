"""Folders of small models with random weights, as transformers save them."""

from pathlib import Path

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def make(architecture: str, folder: Path) -> Path:
    """Raises KeyError for an architecture that isn't among these."""
    import torch
    import transformers

    image = {"image_size": 32, "patch_size": 8, "num_labels": 4}
    text = {"vocab_size": 100, "max_position_embeddings": 64, "num_labels": 3}
    sound = {"conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
    residual = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic", "num_labels": 4}
    distilled = {"dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 64, "vocab_size": 100}
    config = {
        "ViTForImageClassification": lambda: transformers.ViTConfig(**SMALL, **image),
        "ResNetForImageClassification": lambda: transformers.ResNetConfig(**residual),
        "BertForSequenceClassification": lambda: transformers.BertConfig(**SMALL, **text),
        "DistilBertForSequenceClassification": lambda: transformers.DistilBertConfig(**distilled),
        "Wav2Vec2ForSequenceClassification": lambda: transformers.Wav2Vec2Config(
            **SMALL, **sound, classifier_proj_size=16, num_labels=3, vocab_size=32
        ),
    }[architecture]()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.manual_seed(0)
    getattr(transformers, architecture)(config).save_pretrained(folder)
    return folder
