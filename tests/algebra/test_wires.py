import numpy as np
import pytest

from tnsim.algebra import WireError, poly
from tnsim.common.wires import identify, index, nest, parse, place, side_of, space


def test_names_are_taken_apart_as_they_were_put_together():
    ix = index("hid", "h", "ket/mlp.0")
    assert (ix, place(ix), space(ix), side_of(ix)) == ("ket/mlp.0/hid:h", "hid", "h", "ket")
    assert nest("model:m", "0") == "model:m"
    assert side_of("out:d") is None


def test_identify_merges_chains_and_keeps_groups_apart():
    found = identify([("a", "b"), ("c", "d"), ("b", "c"), ("x", "y")])
    assert len({found[i] for i in "abcd"}) == 1
    assert found["x"] == found["y"] != found["a"]


def test_positions_become_part_of_the_leg():
    eq = parse("O[out@q,v] V[v,in0@k] M[q,k]")
    assert eq.legs == (("k:s", "in0:d"),)
    assert eq.out == ("q:s", "out:d")


@pytest.mark.parametrize(
    ("equation", "shapes", "message"),
    [
        ("D[out,hid,x]", {"D": (2, 5)}, r"`D\[out,hid,x\]` names 3 indices but array D has shape \(2, 5\)"),
        ("D[out,hid] L[hid,in0]", {"D": (2, 5), "L": (4, 3)}, "`hid` has size 5 before"),
        ("D[out,hid] L[hid,in1]", {"D": (2, 5), "L": (5, 3)}, "without gaps"),
        ("L[hid,in0]", {"L": (5, 3)}, "has no output"),
        ("D[out,in0", {"D": (5, 3)}, "cannot read"),
        ("D[out,in 0]", {"D": (5, 3)}, "is not an index"),
        ("D[out,in0]", {"W": (5, 3)}, "arrays were given for"),
        ("D[out,in0@k] O[out@q,k]", {"D": (5, 3), "O": (5, 2)}, "no factor of"),
        ("D[out,hid] L[hid,in0] R[hid,in1]", {"D": (1, 2), "L": (2, 3), "R": (2, 4)}, "different sizes"),
        ("c[out]", {"c": (4,)}, "reads no input"),
    ],
)
def test_bad_equations_say_what_is_wrong(equation, shapes, message):
    with pytest.raises(WireError, match=message):
        poly(equation, **{name: np.zeros(shape) for name, shape in shapes.items()})
