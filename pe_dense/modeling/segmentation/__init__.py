"""Semantic segmentation: heads and the model."""
