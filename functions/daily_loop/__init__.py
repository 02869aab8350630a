"""The steps of the daily loop that are Lambda functions: one bundle, a handler, a role and an environment each."""
