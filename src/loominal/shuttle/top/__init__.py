"""`shuttle top`: what is drawn, what is typed and what is asked, each by itself; `loop` runs them together."""
