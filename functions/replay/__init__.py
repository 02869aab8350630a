"""The functions of a replay that need no table in memory: publishing its corrections."""
