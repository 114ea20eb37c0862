"""Many cells: planned whole, launched, searched over, and the paper's tables."""
