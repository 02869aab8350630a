"""The one image: training, serving and processing behind one entry point."""
