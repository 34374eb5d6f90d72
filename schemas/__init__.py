"""schemas package marker; no code here."""
