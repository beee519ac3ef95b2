"""What the oldest environment is made of follows from pyproject.toml."""

import pytest
import versions


def test_every_requirement_has_one_lower_bound():
    bounds = versions.oldest(versions.project())
    for name in ("autoray", "quimb", "matplotlib", "pytest"):
        assert any(bound.startswith(f"{name}==") for bound in bounds)
    assert all(bound.count("==") == 1 for bound in bounds)
    assert not any(bound.startswith(("torch", "tnsim")) for bound in bounds)


@pytest.mark.parametrize(
    ("extras", "message"),
    [
        (["scipy"], "scipy: write one lower bound"),
        (["scipy<2"], "write one lower bound"),
        (["numpy>=2"], "numpy: two lower bounds"),
    ],
)
def test_bounds_that_say_nothing_are_refused(extras, message):
    project = {"name": "x", "dependencies": ["numpy>=1.26"], "optional-dependencies": {"more": extras}}
    with pytest.raises(ValueError, match=message):
        versions.oldest(project)


def test_upper_bounds_and_extras_of_its_own_are_no_lower_bounds():
    project = {
        "name": "x",
        "dependencies": ["numpy>=1.26,<3", "torch>=2"],
        "optional-dependencies": {"a": ["rich>=13"], "all": ["x[a]"]},
    }
    assert versions.oldest(project) == ["numpy==1.26", "rich==13"]
