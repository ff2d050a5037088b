"""Compares an export with its Keras model.

The images (`evidence`) go through both (`artefact`, `verify`). The differences are compared with
the allowed ones (`budget`). The result is the certificate (`report`).
"""
