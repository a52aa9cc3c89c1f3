"""Systems built on top of pe_dense."""
