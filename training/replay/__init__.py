"""Deciding past clicks again: the ledger's fold for whole tables, decisions anew, features counted anew.

Pure over tables; where the tables lie is the caller's business (local/replaying.py, training/replay_step.py).
"""
