"""tuneloop: collect, tune, judge, pack, serve, choose, learn - one loop over a small team's own data."""

__version__ = "0.1.0"
