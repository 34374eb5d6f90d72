"""Workflows across agencies: definitions, the pure machine, its durable case store and the hosts that run it.

Part of agencybus.
"""
