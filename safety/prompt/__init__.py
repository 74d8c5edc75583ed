"""Checks that judge a prompt: text in, findings out, no torch."""
