"""What every room stands on: errors, registries, randomness, groups of tensors, the cache."""
