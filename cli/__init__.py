"""The `recon` command: reads files, calls the library, writes results; no mathematics."""
