"""tnsim: neural networks as tensor networks."""
