"""pe_dense: dense prediction with Meta's Perception Encoder."""

__version__ = "0.1.0"
