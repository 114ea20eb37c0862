"""Services and weights behind generators and prompt writers."""
