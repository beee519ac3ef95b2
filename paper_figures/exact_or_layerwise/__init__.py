"""Exact similarity beside the published layer-by-layer approximation, on trained models."""
