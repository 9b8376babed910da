"""Makes the networks of `service/starters`, through the service itself."""
