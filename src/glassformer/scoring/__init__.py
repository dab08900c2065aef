"""Scoring: BLEU, chrF and exact match of translations, each with its signature and its interval."""
