"""Runs an export beside its Keras model, and writes down what differs.

Images (`evidence`) go through both (`artefact`, `verify`); what differs is measured against a
`budget` and becomes a `report`, the certificate.
"""
