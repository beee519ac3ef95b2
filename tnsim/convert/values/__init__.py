"""What a tensor of a forward pass is: a polynomial of the layer's input, over named axes."""

__all__ = ()
