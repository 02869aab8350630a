"""Parts of the stacks: keyword-only constructs that take objects and grant to them."""
