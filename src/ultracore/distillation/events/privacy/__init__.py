"""What keeps a person's data out of sight: redaction, sealing, keys, erasure."""
