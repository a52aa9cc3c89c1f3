"""Depth from one or several layers of the encoder: heads, losses and the model."""
