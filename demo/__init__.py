"""The demo data set and prediction with a trained network.

A package of its own, as `demo.py` in this folder would otherwise be taken for it.
"""
