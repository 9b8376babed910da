"""What the service answers over HTTP, how fast, beside other ways to serve the same networks."""
