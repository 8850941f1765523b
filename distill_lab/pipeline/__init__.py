"""The stages, a module each, and the runner that calls them."""
