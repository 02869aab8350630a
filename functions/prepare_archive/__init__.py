"""The Firehose transform that brings clicks, purchases and verdicts into their lake form."""
