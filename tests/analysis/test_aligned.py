from itertools import permutations

import pytest
import torch
from zoo import network, rand

import tnsim
from tnsim.algebra import poly, stack


def layer(h=5, d=3, o=2):
    return poly("D[out,hid] L[hid,in0] R[hid,in1]", D=rand(o, h), L=rand(h, d), R=rand(h, d))


def factors(f):
    return [x.data for x in f.terms[0].tensors]


def shuffled(model, **orders):
    """The same function with the hidden units and states of a BilinearMLP in another order."""
    state = {k: v.clone() for k, v in model.state_dict().items()}
    stream = orders.get("stream")
    for key, v in state.items():
        if key.startswith("blocks"):
            _, k, _, role, kind = key.split(".")
            inner = orders[f"h{k}"]
            if kind == "weight" and role == "d":
                state[key] = v[stream][:, inner]
            elif kind == "weight":
                state[key] = v[inner][:, stream]
            else:
                state[key] = v[stream] if role == "d" else v[inner]
        elif key == "head.weight":
            state[key] = v[:, stream]
        elif key.startswith("embed"):
            state[key] = v[stream]
    return state


def test_one_layer_is_the_best_of_all_permutations():
    a, b = layer(), layer()
    (D, L, R), (E, M, N) = factors(a), factors(b)
    norms = [torch.cat([x.reshape(-1) for x in w]).norm() for w in ((D, L, R), (E, M, N))]
    best = max(
        ((D * E[:, p]).sum() + (L * M[p, :]).sum() + (R * N[p, :]).sum()).item()
        for p in map(list, permutations(range(5)))
    )
    found = tnsim.aligned_weight_cosine(a, b)
    assert found.item() == pytest.approx(best / (norms[0] * norms[1]).item(), abs=1e-12)
    assert found > tnsim.weight_cosine(a, b)


@pytest.mark.parametrize("residual", [None, "add", "lerp"])
def test_a_shuffled_model_is_recognised(residual):
    """Deep, with biases; a residual ties the order of all states together."""
    make = lambda: tnsim.nn.BilinearMLP(7, 5, 6, 3, n_layer=2, residual=residual, scale=0.5, bias=True)  # noqa: E731
    a, b = make(), make()
    b.load_state_dict(shuffled(a, stream=torch.randperm(5), h0=torch.randperm(6), h1=torch.randperm(6)))
    assert tnsim.weight_cosine(a, b) < 0.9
    assert tnsim.similarity(a, b).item() == pytest.approx(1)
    assert tnsim.aligned_weight_cosine(a, b, restarts=5).item() == pytest.approx(1)


def test_it_is_never_below_the_cosine_of_the_arrays_and_more_starts_never_hurt():
    for _ in range(3):
        a, b = network(2, width=4, embed=True), network(2, width=4, embed=True)
        once, often = (tnsim.aligned_weight_cosine(a, b, restarts=n) for n in (1, 5))
        assert tnsim.weight_cosine(a, b) - 1e-12 <= once <= often <= 1


def test_errors_say_what_is_needed():
    with pytest.raises(ValueError, match="same layers"):
        tnsim.aligned_weight_cosine(layer(h=5), layer(h=6))
    with pytest.raises(ValueError, match="single models"):
        both = stack([network(1), network(1)])
        tnsim.aligned_weight_cosine(both, both)
    with pytest.raises(ValueError, match="start"):
        tnsim.aligned_weight_cosine(layer(), layer(), restarts=0)
