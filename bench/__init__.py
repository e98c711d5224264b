"""Measurements: `python -m bench` lists them, `python -m bench read_export` runs one. See bench/__main__.py."""
