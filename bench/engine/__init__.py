"""What the engine is worth: against other ways of serving the same model, and against its own parts."""
