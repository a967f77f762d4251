"""Importers: results made elsewhere, people's answers, annotations."""
