"""bus package marker; no code here."""
