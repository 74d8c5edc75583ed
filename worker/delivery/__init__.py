"""Delivers webhooks: a process of its own, without torch."""
