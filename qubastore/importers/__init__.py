"""Importers: predictions made elsewhere, answers of people, annotations of images."""
