"""Small modules and functional operations that the models share."""
