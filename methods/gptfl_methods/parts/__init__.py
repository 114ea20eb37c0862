"""What single methods are made of, beside the engine."""
