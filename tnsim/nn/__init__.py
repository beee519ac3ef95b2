"""Models worth converting: plain torch modules that are polynomials of their input."""

from tnsim.disk import load, read_state
from tnsim.nn.attention import BilinearAttention
from tnsim.nn.block import BilinearBlock
from tnsim.nn.checkpoint import language_model
from tnsim.nn.classifier import BilinearClassifier
from tnsim.nn.layer import BilinearLayer
from tnsim.nn.mlp import BilinearMLP
from tnsim.nn.rotary import Rotary
from tnsim.nn.tokens import TokenEmbedding, Unembedding
from tnsim.nn.transformer import Transformer

__all__ = [
    "BilinearAttention",
    "BilinearBlock",
    "BilinearClassifier",
    "BilinearLayer",
    "BilinearMLP",
    "Rotary",
    "TokenEmbedding",
    "Transformer",
    "Unembedding",
    "language_model",
    "load",
    "read_state",
]
