"""These are programs that the tests start, not tests: nothing here is collected."""

collect_ignore_glob = ["*.py"]
