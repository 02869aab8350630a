"""The Lambda that decides clicks: a batch of the click stream in, one verdict a click out."""
