"""A network as a graph: an edge for every index, a port for every input."""

import quimb.tensor as qtn
from drawings import rand

from tnsim.algebra import poly
from tnsim.algebra.networks.graph import to_graph


def test_two_indices_between_two_tensors_are_two_edges():
    t = [qtn.Tensor(rand(2, 3, 4), ("a", "b", "in0:d")), qtn.Tensor(rand(2, 3, 5), ("a", "b", "out:d"))]
    graph = to_graph(qtn.TensorNetwork(t))
    assert sorted(d["index"] for *_, d in graph.edges(data=True)) == ["a", "b", "in0:d", "out:d"]


def test_an_inner_index_called_inner_is_not_an_input():
    (term,) = poly("D[out,inner] L[inner,in0]", D=rand(2, 3), L=rand(3, 4)).terms
    assert "inner:h" not in to_graph(term.network)
