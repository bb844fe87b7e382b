"""Functions that make small models of PyTorch, as a user writes them; named as ``nets.py:small``."""

import torch
from torch import nn


class Small(nn.Module):
    """A convolution, dropout and a layer, of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.dropout, self.layer = nn.Conv2d(3, 8, 3), nn.Dropout(0.5), nn.Linear(8, 4)

    def forward(self, image):
        return self.layer(self.dropout(self.convolution(image).relu().mean((2, 3))))


class Two(nn.Module):
    """Of words and numbers: classes' scores, and the best class."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.layer = nn.Embedding(50, 8), nn.Linear(11, 2)

    def forward(self, tokens, extra):
        logits = self.layer(torch.cat([self.words(tokens).mean(1), extra], 1))
        return {"logits": logits, "label": logits.argmax(1)}


class Of(nn.Module):
    """Whatever a function makes of its input."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Pair(nn.Module):
    """Of two inputs, of which one is not used."""

    def forward(self, x, other):
        return x * 2


class Halves(nn.Module):
    """Of items and twice as many others."""

    def forward(self, x, pairs):
        return x + pairs.reshape(-1, 2, 3).sum(1)


def numbers(items=2):
    return (torch.randn(items, 3),)


def small():
    return Small().train(), (torch.randn(1, 3, 16, 16),)


def two():
    return Two(), {"tokens": torch.randint(50, (2, 7)), "extra": torch.rand(2, 3)}


def several():
    return Of(lambda x: (x, (x + 1, None))), numbers()


def one_is_not_used():
    return Pair(), (torch.randn(2, 3), torch.randn(2, 5))


def half():
    return nn.Linear(64, 64).half(), (torch.randn(2, 64).half(),)


def fixed_batch():
    return Of(lambda x: x.reshape(3, -1)), numbers(3)


def fixed_at_one():
    return Of(lambda x: x.reshape(1, 3) * 2), numbers(1)


def program():
    items = torch.export.Dim("items", max=64)
    example = (torch.randn(2, 3, 16, 16),)
    return torch.export.export(Small().eval(), example, dynamic_shapes={"image": {0: items}})


def twice_as_many():
    items = torch.export.Dim("items", max=8)
    module, example = Halves(), (torch.randn(3, 3), torch.randn(6, 3))
    return torch.export.export(module, example, dynamic_shapes={"x": {0: items}, "pairs": {0: 2 * items}})


def at_most_two():
    items = torch.export.Dim("items", max=2)
    return torch.export.export(Of(lambda x: x * 2), numbers(), dynamic_shapes={"x": {0: items}})


# Those that are refused


def raises():
    raise ValueError("the weights\nare gone")


def exits():
    raise SystemExit(3)


def a_number():
    return 3


def bare_inputs():
    return Small(), torch.ones(2)


def inputs_of_numbers():
    return Small(), (3,)


def without_inputs():
    return Small(), ()


def too_many_inputs():
    return Small(), (torch.ones(2, 3, 16, 16), torch.ones(2, 3))


def gives_text():
    return Of(lambda x: {"logits": x, "name": "text"}), numbers()


def gives_nothing():
    return Of(lambda x: None), numbers()


def another_formula():
    return Of(lambda x: x * 1.001 if torch.compiler.is_exporting() else x), numbers()


def other_classes():
    return Of(lambda x: x.argmax(1) + 1 if torch.compiler.is_exporting() else x.argmax(1)), numbers()


def always_random():
    return Of(lambda x: nn.functional.dropout(x, 0.5, training=True)), numbers()


def without_an_operator():
    return torch.export.export(Of(torch.special.bessel_j0), numbers())
