"""Reads and changes the bytes of TFLite files, without Keras models.

Only `schema` imports TensorFlow's private classes of the file format.
"""
