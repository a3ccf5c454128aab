"""What every REST address shares: errors, rights, pages of lists, strict input, idempotency, the schema."""
