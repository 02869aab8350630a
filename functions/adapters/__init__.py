"""Adapters: one class, one service; domain types go in and come out."""
