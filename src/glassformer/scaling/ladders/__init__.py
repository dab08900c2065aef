"""Small runs chosen to predict a large one: designed, trained, fitted and tested."""
