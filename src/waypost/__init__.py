"""Waypost: a registry without a centre.  This file names the public API and imports nothing yet."""

__version__ = "0.1.0.dev0"
