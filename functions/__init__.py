"""The functions that AWS runs, and the adapters to the services they use."""
