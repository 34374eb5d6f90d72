"""Delivery policies, one per file; the default order stands in `bus.pipeline`."""
