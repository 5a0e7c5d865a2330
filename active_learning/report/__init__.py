"""The report of an experiment: what was learned from how many images, and why images were chosen (see page.py)."""
