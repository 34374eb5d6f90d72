"""How events travel and who watches: publishing, consuming, topology, lag, the local broker and the command line.

Part of agencybus.
"""
