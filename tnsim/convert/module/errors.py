"""ConvertError: what cannot be converted, where it stands, and what to write instead."""

__all__ = [
    "APART",
    "FITS",
    "MIXED",
    "NEVER",
    "ConvertError",
    "IdsError",
    "InputError",
    "Refusal",
    "located",
    "unknown_dtype",
    "unsupported",
]

MIXED = ("{name} mixes the samples of a batch", "Treat every sample alike, and keep the batch axis apart.")
FITS = " Pass an example of a shape that the model takes."
APART = (
    "{name} pairs samples of a batch with each other",
    "Treat every sample alike, and keep the batch axis in one place.",
)
_ACTIVATION = (
    "tnsim needs polynomial layers: use tnsim.nn.BilinearLayer, or register a rule with "
    "@tnsim.convert.register."
)
_DEFAULT = (
    "It is made of no sums and products of the data that tnsim can find: write it with these, or register a rule with "
    "@tnsim.convert.register."
)
_SOFTMAX = (
    "It divides by a sum of exponentials of the data: use attention without softmax (products of scores), or "
    "register a rule with @tnsim.convert.register."
)
_NORM = (
    "It takes a norm of the data, a root that differs from input to input, so no polynomial is equal to it (x.norm() ** 2 "
    'is one). An approximation by name: convert(model, example, norm="fixed", under=law) puts a constant in the place of '
    "every norm, its root mean square under a law of the input such as tnsim.Gaussian(), and keeps gains and biases. Else "
    "train without it, use BatchNorm in eval mode, which is affine, or register a rule with @tnsim.convert.register."
)
_ROOT = (
    "A root is no polynomial, unless it is squared again before anything is added to it: write the square, or register a "
    "rule with @tnsim.convert.register."
)
_DIVISION = "It divides by data. Multiply instead, or register a rule with @tnsim.convert.register."
_INVERSE = "It divides by a determinant of the data: keep the matrix constant, or multiply instead."
_COMPARE = (
    "A comparison with the data is not polynomial: use a constant mask, or register a rule with "
    "@tnsim.convert.register."
)
_LARGEST = (
    "It puts the data in order, or picks the largest, which takes comparisons: use means, or register a rule with "
    "@tnsim.convert.register."
)
_GATES = (
    "Its gates are sigmoids and tanh: write a recurrence of sums and products, or register a rule with "
    "@tnsim.convert.register."
)
_RANDOM = "The output would be random: call model.eval(), or leave the noise out of forward."
_INTEGER = "A whole number is no polynomial of the data: keep it floating, or embed it outside the model."

_ACTIVATIONS = (
    "relu relu6 gelu silu sigmoid logsigmoid tanh elu selu celu mish softplus softsign leaky_relu prelu rrelu",
    "hardtanh hardswish hardsigmoid hardshrink softshrink tanhshrink threshold glu abs sin cos exp",
)
_PICKS = "amax amin topk sort argsort argmin median kthvalue cummax cummin msort"
_HINTS = {
    **dict.fromkeys(" ".join(_ACTIVATIONS).split(), _ACTIVATION),
    **dict.fromkeys(("softmax", "log_softmax", "scaled_dot_product_attention", "softmin"), _SOFTMAX),
    **dict.fromkeys(
        ("layer_norm", "rms_norm", "group_norm", "instance_norm", "normalize", "norm", "local_response_norm"),
        _NORM,
    ),
    **dict.fromkeys(
        ("gt", "lt", "ge", "le", "eq", "ne", "maximum", "minimum", "max", "min", "clamp"), _COMPARE
    ),
    **dict.fromkeys(("randn_like", "rand_like", "bernoulli", "normal", "randint_like"), _RANDOM),
    **dict.fromkeys(("long", "int", "round", "floor", "argmax"), _INTEGER),
    **dict.fromkeys(
        " ".join(
            f"max_pool{n}d max_pool{n}d_with_indices adaptive_max_pool{n}d fractional_max_pool{n}d"
            for n in (1, 2, 3)
        ).split(),
        _LARGEST,
    ),
    **dict.fromkeys(_PICKS.split(), _LARGEST),
    **dict.fromkeys(("gru", "lstm", "rnn_tanh", "rnn_relu", "gru_cell", "lstm_cell"), _GATES),
    **dict.fromkeys(("rnn_tanh_cell", "rnn_relu_cell"), _GATES),
    **dict.fromkeys(("remainder", "fmod", "trunc", "ceil", "frac"), _INTEGER),
    **dict.fromkeys(("inverse", "linalg_inv", "linalg_solve", "linalg_pinv"), _INVERSE),
    "multi_head_attention_forward": _SOFTMAX,
    **dict.fromkeys(("sqrt", "rsqrt", "hypot", "cdist"), _ROOT),
    "reciprocal": _DIVISION,
}


_SOMETIMES = {  # of token ids, or where they are squared, these have a form
    *("abs", "long", "int", "round", "floor", "norm", "sqrt", "rsqrt", "hypot", "cdist", "reciprocal"),
    *("linalg_solve",),  # of constant matrices
}
NEVER = frozenset(_HINTS) - _SOMETIMES


class ConvertError(ValueError):
    """A module has no polynomial form that tnsim can find; the message says where and what to do.

    Example:
        >>> import torch, tnsim
        >>> tnsim.convert(torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU()))
        Traceback (most recent call last):
            ...
        tnsim.convert.module.errors.ConvertError: no polynomial form for ReLU at "1". ...
    """


class InputError(ConvertError):
    """The module cannot run on an input of this shape."""


class IdsError(InputError):
    """The module reads token ids, and was given numbers."""


class Refusal(Exception):
    """An operation cannot be converted; becomes a :class:`ConvertError` where its place is known.

    Args:
        fact: what is wrong; ``{name}`` stands for the operation.
        remedy: what to do.
    """

    def __init__(self, fact: str, remedy: str):
        super().__init__(fact)
        self.fact, self.remedy = fact, remedy

    def at(self, name: str, where: str) -> ConvertError:
        """The error, with the operation's name and place."""
        return ConvertError(f"{self.fact.replace('{name}', name)} {where}. {self.remedy}")


def located(path: str, source: str = "") -> str:
    """Where an operation stands, for a message.

    Example:
        >>> located("mlp.1.act")
        'at "mlp.1.act"'
        >>> located("", "model.py:7: return x.abs()")
        'in the root module (model.py:7: return x.abs())'
    """
    place = f'at "{path}"' if path else "in the root module"
    return f"{place} ({source})" if source else place


def unsupported(op: str, label: str, where: str) -> ConvertError:
    """The error for an operation without a polynomial form."""
    return Refusal("no polynomial form for {name}", _HINTS.get(op, _DEFAULT)).at(label, where)


def unknown_dtype(dtype: object, device: object) -> ConvertError:
    """A device has no such numbers."""
    name = str(dtype).removeprefix("torch.")
    return ConvertError(
        f"the model is on {device}, which knows no {name}. Convert it with dtype=torch.float32; or on the CPU, "
        f'and then move the network with net.to("{device}", dtype=torch.float32).'
    )
