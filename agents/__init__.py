"""agents package marker; no code here."""
