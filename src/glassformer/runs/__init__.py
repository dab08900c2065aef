"""A run's folder on disk: its configuration, circumstances, metrics and checkpoints. (Floor 3.)"""
