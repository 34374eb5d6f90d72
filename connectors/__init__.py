"""The agencies' own systems: recorded logs and simulated offices that meet the workflows only on topics.

Part of agencybus.
"""
