"""The checks: each breaks one thing, many times, and says what came of it."""
