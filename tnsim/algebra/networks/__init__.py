"""A model: layers in order, and networks made of networks."""

__all__ = ()
