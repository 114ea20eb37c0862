"""What code is: a hash of source or of compiled code, so that results are known again."""
