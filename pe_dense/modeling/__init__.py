"""The backbone and the models on top of it."""
