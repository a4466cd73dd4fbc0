"""What users do wrong, the messages they get, and the rules of good prose for these."""
