"""The decision log in PostgreSQL, for several processes and machines; needs the extra `postgres`."""
