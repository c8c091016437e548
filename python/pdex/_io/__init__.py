"""From AnnData to what the engine reads. Never imports expressions."""
