"""Model families, each behind the `Family` seam."""
