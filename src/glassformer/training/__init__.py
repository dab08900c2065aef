"""The one loop, and what it is made of: objective, optimizers, schedules, telemetry. (Floor 4.)"""
