"""Checks that judge finished pixels; they need numpy, so only a worker imports them."""
