"""What `shuttle submit` offers, to whom, and how it is sent."""
