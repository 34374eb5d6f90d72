"""How much of a stranger's bytes a consumer unpacks, in one place, with the reasons.

Read by every file of the splitter. The trap they avoid: an object costs many times its bytes (an empty header of two
bytes becomes a tuple of 64), so a cap on bytes alone does not bound memory (research/poison.md 4).
"""

from __future__ import annotations

# A batch of 2 kB zstd unpacks to 64 MB, one of 33 kB to 1 GiB. Producers of ours send at most 1 MB a batch
# (`transport.rules`), so 8 MiB leaves honest batches a ratio of 8; a bomb stopped there costs 10-22 MB (poison.md 4).
MOST_DECOMPRESSED = 8 << 20

# A record that came compressed may not be larger than the broker's default lets an uncompressed batch be. What came
# uncompressed is bounded by its topic's own max.message.bytes, which an operator may have raised for the case log.
MOST_RECORD = 1_048_588

# Up to here the client's compiled reader may build all objects at once: at worst 0.5 million empty headers, 34 MB. No
# record in such a batch can be larger than `MOST_RECORD`.
MOST_AT_ONCE = MOST_RECORD

# 8 MiB of the smallest honest events (an envelope alone is 160 bytes).
MOST_RECORDS = 50_000

# An event has about 10 headers, a dead letter 17 more; strangers may add theirs.
MOST_HEADERS = 256

# An event's headers take about 500 bytes.
MOST_HEADER_BYTES = 64 << 10

# In a batch that does not go through the compiled reader: 170 bytes of objects each, 85 MB.
MOST_BATCH_HEADERS = 500_000

# Identical fetches before a batch counts as unparsable: a wire or disk fault may be gone the next time.
FETCHES = 3
