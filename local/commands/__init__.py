"""The commands of `slidr`, one module each; docs/cli.md describes them."""
