"""The `darkroom` command. Composes the other packages; nobody imports it."""
