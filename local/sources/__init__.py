"""Readers of click logs: each turns one format into events of the wire contract (docs/data-contract.md)."""
