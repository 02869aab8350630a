"""The domain of SLIDR: clicks, features, verdicts and releases, pure and without I/O."""
