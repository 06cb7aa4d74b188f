"""What Prometheus reads of a weft: numbers that others keep, named and described here."""
