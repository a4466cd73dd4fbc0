"""The papers' experiment as a command: ``python -m skdne.experiments.paper --help``."""
