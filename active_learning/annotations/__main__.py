"""`python -m active_learning.annotations` runs the conversion, whose commands users know by this shorter name.

It is run as a program instead of imported: conversion stands above this package and imports it, never the reverse.
"""

import runpy

if __name__ == "__main__":
    runpy.run_module("active_learning.conversion", run_name="__main__", alter_sys=True)
