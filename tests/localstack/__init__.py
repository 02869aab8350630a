"""Adapters and the alarm path against a real LocalStack."""
