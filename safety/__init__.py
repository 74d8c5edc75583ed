"""Checks, policy and provenance. The root is torch-free; what needs pixels or models is imported only by a worker."""
