"""What redaction covers beside tracks."""
