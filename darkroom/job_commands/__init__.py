"""The job store's calls as values, by who makes them.

`JobStore` and `AsyncJobStore` both run these, so that neither has logic of its own.
"""
