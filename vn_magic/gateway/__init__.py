"""The service, seen from the client: what goes over the wire, when, how often, and what the answers mean."""
