"""Reads fetched bytes so that no batch, however broken or hostile, stops a consumer of ours (bus/DESIGN.md)."""
