"""What happens now, from the log: as figures, as pages of the gateway, and in a terminal."""
