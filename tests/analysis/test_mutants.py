"""Whatever happens to a checkpoint file of a Gram matrix: it is refused, or the matrix is right."""

import random
import struct

import pytest
import torch
from zoo import network

import tnsim

HEAD = 19 + 32 + 8  # of the file: format, key, check
START, END = 16, 32  # of a record: length and its check, hash


def records(content):
    """The head and the records of a file, by their lengths alone."""
    parts, at = [content[:HEAD]], HEAD
    while at < len(content):
        (length,) = struct.unpack("<Q", content[at : at + 8])
        parts.append(content[at : at + START + length + END])
        at += len(parts[-1])
    return parts


def flipped(dice, content, other):
    at = dice.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << dice.randrange(8)]) + content[at + 1 :]


def cut(dice, content, other):
    return content[: dice.randrange(len(content))]


def cut_between_records(dice, content, other):
    parts = records(content)
    return b"".join(parts[: dice.randrange(1, len(parts))])


def swapped(dice, content, other):
    parts = records(content)
    i, j = dice.sample(range(1, len(parts)), 2)
    parts[i], parts[j] = parts[j], parts[i]
    return b"".join(parts)


def twice(dice, content, other):
    parts = records(content)
    i, j = dice.randrange(1, len(parts)), dice.randrange(1, len(parts) + 1)
    return b"".join([*parts[:j], parts[i], *parts[j:]])


def removed(dice, content, other):
    parts = records(content)
    del parts[dice.randrange(len(parts))]
    return b"".join(parts)


def of_another_matrix(dice, content, other):
    parts, theirs = records(content), records(other)
    i = dice.randrange(len(parts))
    parts[i] = theirs[i]
    return b"".join(parts)


def declares_more(dice, content, other):
    """A length, of a record or of the safetensors in it, as large as it gets."""
    parts = records(content)
    i = dice.randrange(1, len(parts))
    at = dice.choice([0, START])
    length = struct.pack("<Q", dice.choice([2**63, 2**62 + 5, 2**40, len(parts[i]) + 1, 0]))
    parts[i] = parts[i][:at] + length + parts[i][at + 8 :]
    return b"".join(parts)


def overwritten(dice, content, other):
    i, j = sorted(dice.sample(range(len(content) + 1), 2))
    return content[:i] + dice.choice([bytes(j - i), dice.randbytes(j - i)]) + content[j:]


def inserted(dice, content, other):
    i, more = dice.randrange(len(content) + 1), dice.randrange(1, 100)
    return content[:i] + dice.choice([bytes(more), dice.randbytes(more)]) + content[i:]


def spliced(dice, content, other):
    """What is left when two processes write over each other."""
    i = dice.randrange(len(content))
    return content[:i] + other[i:]


MUTATIONS = [flipped] * 10 + [cut, cut_between_records, swapped, twice, removed, of_another_matrix]
MUTATIONS += [declares_more, overwritten, inserted, spliced]


def test_three_hundred_mutants(tmp_path):
    torch.manual_seed(0)
    nets = [network(1, d=2, width=2, hidden=2, bias=True) for _ in range(3)]
    laws = {
        "mean": tnsim.Gaussian(mean=torch.tensor([1.0, 2.0])),
        "cov": tnsim.Gaussian(cov=torch.tensor([1.0, 2.0])),
    }
    whole = {k: tnsim.gram(nets, under=law, checkpoint=tmp_path / k).products for k, law in laws.items()}
    assert not torch.allclose(whole["mean"], whole["cov"])
    content, other = ((tmp_path / k).read_bytes() for k in laws)
    assert b"".join(records(content)) == content and len(records(content)) == 7
    path = tmp_path / "mutant"
    dice, refused, mutants = random.Random(0), {}, set()
    while len(mutants) < 300:
        mutation = MUTATIONS[len(mutants) % len(MUTATIONS)]
        mutant = mutation(dice, content, other)
        if mutant == content or mutant in mutants:
            mutation, mutant = flipped, flipped(dice, content, other)
        mutants.add(mutant)
        path.write_bytes(mutant)
        try:
            found = tnsim.gram(nets, under=laws["mean"], checkpoint=path, progress=False).products
        except ValueError as error:
            assert str(path) in str(error)
            assert path.read_bytes() == mutant, "what was refused was changed"
            refused[mutation] = refused.get(mutation, 0) + 1
        else:
            assert torch.equal(found, whole["mean"]), mutation
            assert path.read_bytes() == content  # and whole again
    assert refused[flipped] > 140 and cut_between_records not in refused


OLD = b'{"tnsim.fingerprint.abc":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "git lfs pull"),
        (struct.pack("<Q", len(OLD)) + OLD, "another version of tnsim"),
        (b"tnsim checkpoint 3\n" + bytes(99), "another version of tnsim"),
        (b"tnsim checkpoint 2\n" + bytes(99), "its head is damaged"),
        (b"PK\x03\x04" + bytes(99), "it is something else"),
        (struct.pack("<Q", 2**62) + bytes(99), "it is something else"),
    ],
)
def test_other_files_are_named_and_left_alone(tmp_path, content, says):
    path = tmp_path / "g.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=says):
        tnsim.gram([network(1)] * 2, checkpoint=path)
    assert path.read_bytes() == content
