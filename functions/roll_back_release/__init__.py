"""Answers alarms: back to the stable release in seconds, or observe mode and a page, exactly once."""
