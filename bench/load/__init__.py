"""What the benches share: servers on loopback (`servers.py`) and the load generator (`generator.py`)."""
