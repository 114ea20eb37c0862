"""From decoded pictures and sound to what a task stores, and from there to network input."""
