"""One run of an experiment: its data, state, lock and output files; --check and --status."""
