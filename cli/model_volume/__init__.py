"""The folder that pulled models lie in: where they come from, which files count, whether they are still the same."""
