"""The local Apache Kafka: its pinned jars and its life cycle."""
