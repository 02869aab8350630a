"""Tests against a real Valkey server, and a real cluster of three."""
