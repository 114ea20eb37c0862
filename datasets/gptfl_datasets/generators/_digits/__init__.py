"""How the embedded generator of digits was made, and what it draws from."""
