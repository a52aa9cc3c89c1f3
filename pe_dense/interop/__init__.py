"""Other libraries beside pe_dense; each module needs its library and is imported by whoever wants it."""
