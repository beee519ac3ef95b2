"""``tnsim inspect``: what a model consists of, and what questions about it cost."""

from time import perf_counter
from typing import Annotated, Any

import torch
import typer

from tnsim.algebra import Network
from tnsim.analysis import cost
from tnsim.commands.answers import (
    Arguments,
    Example,
    Json,
    Key,
    Model,
    Names,
    TokenCount,
    Under,
    answering,
    say,
    table,
)
from tnsim.commands.laws import law_of
from tnsim.commands.sources import ModelSource
from tnsim.common.wires import is_constant
from tnsim.engine.costs import CostError
from tnsim.measure import Measure, MeasureError

__all__ = ["inspect"]

_DRAWS = 100_000
_FLOPS = 1e10  # for ranks: less than a second
_LONG = 0.05  # seconds that tell how long a forward pass takes


@answering
def inspect(
    file: Annotated[str, typer.Argument(help="A checkpoint, or a network file.")],
    model: Model = None,
    args: Arguments = None,
    shape: Example = None,
    tokens: TokenCount = None,
    key: Key = None,
    names: Names = None,
    under: Under = "gaussian",
    json: Json = False,
) -> None:
    """Layers, shapes, degrees, parameters ranks of a model; and the price of a similarity of two like it, in seconds.

    Example: tnsim inspect ckpts/step_1000.pt --model my_module:MyModel
    """
    law = law_of(under)
    net = ModelSource(model, args, shape, tokens, key, names).network(file)
    layers = [
        {
            "name": name,
            "in": f.in_shape,
            "out": f.out_shape,
            "degree": f.degree,
            "terms": len(f.terms),
            "parameters": _parameters([(name, f)]),
        }
        for name, f in net
    ]
    prices = {method: _price(net, law, method) for method in ("exact", "layerwise")}
    prices["sampled"] = {"seconds": _seconds(net), "draws": _DRAWS}
    ranks = _ranks(net, law)
    answer = {
        "model": file,
        "layers": layers,
        "in": net.in_shape,
        "out": net.polys[-1].out_shape,
        "degree": net.degree,
        "dtype": net.dtype,
        "models": net.models,
        "parameters": _parameters(net),
        "prices": prices,
        "ranks": ranks,
        "under": repr(law),
        "notes": net.notes,
    }
    rows = [tuple(str(x) if isinstance(x, tuple) else x for x in layer.values()) for layer in layers]
    priced = [(name, said) for name, price in prices.items() for said in [_said(name, price)]]
    say(
        json,
        answer,
        f"{len(net)} layers, {net.in_shape} → {net.polys[-1].out_shape}, degree {net.degree}, "
        f"{answer['parameters']:,} parameters, {net.dtype}",
        *(f"approximation: {note}" for note in net.notes),
        "",
        table(["layer", "in", "out", "degree", "terms", "parameters"], rows),
        "",
        table([f"a similarity under {law!r}", "takes"], priced),
        "",
        *(
            [f"ranks under {law!r}: {ranks['refused']}"]
            if "refused" in ranks
            else [table([f"bond, under {law!r}", "width", "rank", "effective", "is"], _bonds(ranks))]
        ),
    )


def _parameters(layers: Any) -> int:
    """Numbers that are weights, each array once."""
    tensors = (x for _, f in layers for t in f.terms for x in t.tensors if not is_constant(x.tags))
    return sum({id(x.data): x.data.numel() for x in tensors}.values())


def _price(net: Network, law: Measure, method: Any) -> dict[str, Any]:
    try:
        found = cost(net, net, under=law, method=method)
    except (MeasureError, ValueError) as error:
        return {"refused": str(error)}
    return {"seconds": found.seconds, "flops": found.flops, "bytes": found.bytes, "at_least": found.at_least}


def _ranks(net: Network, law: Measure) -> dict[str, Any]:
    """Ranks of all bonds by name, where they take no time worth speaking of."""
    try:
        found = net.ranks(law, budget=_FLOPS)
    except (CostError, MeasureError, ValueError) as error:
        return {"refused": str(error)}
    hard, effective = found.hard(), found.effective
    return {
        place: {"width": width, "rank": hard[place], "effective": effective[place], "exact": exact}
        for (place, width), exact in zip(found.widths.items(), found.exact, strict=True)
    }


def _bonds(ranks: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [
        (place, x["width"], x["rank"], f"{x['effective']:.2f}", "exact" if x["exact"] else "approximate")
        for place, x in ranks.items()
    ]


def _seconds(net: Network) -> float:
    """How long evaluations of two models on the draws take, from as few as tell."""
    n = 8
    while True:
        x = torch.zeros(n, *net.in_shape, dtype=net.polys[0].like.dtype)
        net(x[:1])
        start = perf_counter()
        net(x)
        taken = perf_counter() - start
        if taken > _LONG or n >= _DRAWS:
            return 2 * taken * _DRAWS / n
        n *= 4


def _said(name: str, price: dict[str, Any]) -> str:
    if "refused" in price:
        return str(price["refused"])
    least = "more than " if price.get("at_least") else "about "
    draws = f" for {price['draws']:,} draws" if "draws" in price else ""
    return f"{least}{price['seconds']:.2g} s{draws}"
