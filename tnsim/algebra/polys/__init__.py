"""A layer: a polynomial, and what polynomials are made of one another."""

__all__ = ()
