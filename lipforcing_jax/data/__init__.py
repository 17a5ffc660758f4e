"""Synthetic talkers: aligned speech and faces whose mouth movement is known, made from seeds alone."""
