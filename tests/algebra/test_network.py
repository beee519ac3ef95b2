import networkx as nx
import pytest
import quimb.tensor as qtn
import torch
from zoo import KINDS, bilinear, linear, network, rand

from tnsim.algebra import ComposeError, CostError, Network, WireError, identity, lift, poly, stack

close = torch.testing.assert_close


@pytest.mark.parametrize("kind", KINDS)
def test_quimb_alone_contracts_the_explicit_network_to_the_output(kind):
    net = network(**KINDS[kind])
    tn = net.to_quimb()
    x = rand(3)
    lifted = any(len(f.terms) > 1 for f in net.polys)
    assert tn.ind_size("in0:d") == 3 + lifted
    fed = torch.cat([torch.ones(1, dtype=torch.float64), x]) if lifted else x
    for k in range(net.degree):
        tn &= qtn.Tensor(fed, (f"in{k}:d",))
    close(tn.contract(output_inds=("out:d",)).data, net(x))


def test_tensors_carry_role_and_layer():
    tn = network(2).to_quimb()
    assert {tuple(t.tags) for t in tn} >= {("D", "blocks.0"), ("E", "blocks.1")}
    assert all(t.inds for t in tn.select("blocks.1"))


def test_names_are_reproducible():
    torch.manual_seed(3)
    first = network(2, bias=True).to_quimb()
    assert [t.inds for t in first] == [t.inds for t in network(2, bias=True).to_quimb()]


def test_lifting_equals_the_sum_also_where_terms_are_not_stars():
    f = bilinear(3, 4, 3, bias=True, residual=0.5)
    deep = f @ f
    x = rand(5, 3)
    ones = torch.ones(5, 1, dtype=torch.float64)
    for g in (f, deep, f[1], deep[1], linear(3, 2, bias=True), linear(3, 2)):
        lifted = lift(g)
        assert len(lifted.terms) == 1
        value = lifted(torch.cat([ones, x], 1))
        expected = g(x) if not g.codomain else torch.cat([ones, g(x)], 1)
        close(value, expected)
        close(lift(g, constant_row=False)(torch.cat([ones, x], 1)), g(x))


def test_lifting_is_refused_where_it_is_not_defined():
    with pytest.raises(WireError, match="a single model of features, or of positions and features"):
        lift(identity((("a", 2), ("s", 2), ("d", 3)), rand(1)))


def test_parts_of_a_network():
    net = network(2, embed=True)
    x = rand(4, 3)
    close(net["blocks.1"](net[:2](x)), net(x))
    close(net[1:](net["embed"](x)), net(x))
    assert net[0] is net["embed"]
    with pytest.raises(KeyError, match=r"Did you mean 'blocks\.0'"):
        net["block.0"]
    with pytest.raises(ComposeError, match="holds no run of layers"):
        net[3:]


def test_layers_must_fit():
    with pytest.raises(ComposeError, match=r"cannot feed head \(in: \(4,\)\) with embed \(out: \(3,\)\)"):
        Network((("embed", linear(2, 3)), ("head", linear(4, 2))))
    with pytest.raises(ComposeError, match="names must differ"):
        Network((("a", linear(2, 2)), ("a", linear(2, 2))))
    with pytest.raises(ComposeError, match="at least one layer"):
        Network(())
    with pytest.raises(WireError, match="one dtype"):
        Network((("a", linear(2, 2)), ("b", poly("W[out,in0]", W=torch.ones(2, 2)))))


def test_input_shapes():
    net = Network((("w", linear(6, 2)),), (1, 2, 3))
    x = rand(4, 1, 2, 3)
    close(net(x), net(x.reshape(4, 6)))
    close(net(x[0]), net(x)[0])
    close(net(x.float()), net(x.float().double()))
    with pytest.raises(WireError, match=r"x has shape \(4, 5\); this network reads"):
        net(rand(4, 5))
    with pytest.raises(WireError, match="convert x first"):
        net(x.numpy())


def test_dtype_and_device():
    net = network(2)
    single = net.to(dtype=torch.float32)
    assert single.dtype == "float32" and net.dtype == "float64"
    assert single(rand(2, 3)).dtype == torch.float32
    assert net.to(device="meta").polys[0].like.device.type == "meta"


@pytest.mark.parametrize("kind", KINDS)
def test_a_stack_is_all_models_at_once(kind):
    nets = [network(**KINDS[kind]) for _ in range(3)]
    run = stack(nets)
    x = rand(5, 3)
    assert run.models == 3
    close(run(x), torch.stack([net(x) for net in nets]))
    close(run.collapse()(x), run(x))
    close(run.pick(2)(x), nets[2](x))


def test_what_cannot_be_stacked():
    with pytest.raises(ComposeError, match="empty"):
        stack([])
    with pytest.raises(ComposeError, match="same layers"):
        stack([network(1), network(2)])


def test_too_many_terms_are_refused_before_they_are_made():
    deep = network(5, residual=0.5, bias=True)
    with pytest.raises(CostError, match="terms; the limit is"):
        deep.collapse()


@pytest.mark.parametrize("kind", KINDS)
def test_the_graph_is_the_network(kind):
    net = network(**KINDS[kind])
    graph, tn = net.graph(), net.to_quimb()
    tensors = [n for n, d in graph.nodes(data=True) if d["kind"] == "tensor"]
    assert len(tensors) == tn.num_tensors
    assert nx.is_connected(graph)
    assert {d["layer"] for _, d in graph.nodes(data=True) if d["kind"] == "tensor"} == set(net.names)
    opened = {n for n, d in graph.nodes(data=True) if d["kind"] == "open"}
    assert opened == {"out:d", *(f"in{k}:d" for k in range(net.degree))}
    for u, v, edge in graph.edges(data=True):
        assert edge["size"] == tn.ind_size(edge["index"])
        for node in (u, v):
            if node in tensors:
                assert edge["index"] in graph.nodes[node]["inds"]
    hubs = [n for n, d in graph.nodes(data=True) if d["kind"] == "hub"]
    assert all(len(tn.ind_map[h]) > 2 for h in hubs)
