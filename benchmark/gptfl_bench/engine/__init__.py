"""Server, clients and the metered channel between them; what a method is."""
