"""The HTTP side of Darkroom: authenticate, validate, check the prompt, submit, read. Never loads torch."""
