"""The Python client: `connect` gives an `Agent` with one method per operation. It loads nothing by itself."""
