"""The models: torch only; knows no thread, no cluster and no video."""
