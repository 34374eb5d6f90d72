"""connectors package marker; no code here."""
