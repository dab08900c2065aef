"""Small runs chosen to foretell a large one, trained, fitted and put to the test."""
