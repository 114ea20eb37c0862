"""Networks with an encoder and a head."""
