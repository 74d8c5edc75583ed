"""LoRA without merge or reload: several adapters a sample, other sets for other samples of one batch."""
