"""The only files that talk to a log: in memory, or Kafka through aiokafka and kafka-python."""
