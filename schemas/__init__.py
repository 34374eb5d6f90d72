"""What is said on the bus: names, envelopes, events and their Avro form.

Pure throughout: no module here does I/O other than reading its own committed snapshots.

Part of agencybus.
"""
