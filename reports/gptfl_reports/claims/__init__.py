"""What the GPT-FL paper claims, and what records say about it."""
