"""What several tests stand on: a served stand-in that logs, and a real kernel."""
