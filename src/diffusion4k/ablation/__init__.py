"""Objectives compared on common ground: the same pictures, noise, order and start for all."""
