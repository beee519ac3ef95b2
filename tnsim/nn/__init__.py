"""Models worth converting: plain torch modules that are polynomials of their input."""

from tnsim.nn.block import BilinearBlock
from tnsim.nn.classifier import BilinearClassifier
from tnsim.nn.layer import BilinearLayer
from tnsim.nn.mlp import BilinearMLP

__all__ = ["BilinearBlock", "BilinearClassifier", "BilinearLayer", "BilinearMLP"]
