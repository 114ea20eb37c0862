"""GPT-FL's workshop: from label names over prompts and samples to start weights."""
