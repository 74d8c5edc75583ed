"""Faults on purpose: the whole service under kills, freezes and outages, judged by what its callers saw."""
