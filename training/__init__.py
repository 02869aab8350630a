"""From the lake to a release, and the container that trains and serves it."""
