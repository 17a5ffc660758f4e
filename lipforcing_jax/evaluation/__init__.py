"""Measurements of results against the truth, and the reports drawn from them."""
