"""The commands of Shuttle, one module for each noun."""
