"""What a model is, how it is built, what it costs, and how it goes in and out."""
