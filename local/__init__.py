"""The `slidr` command, and AWS on one machine for it to talk to."""
