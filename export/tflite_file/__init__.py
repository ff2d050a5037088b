"""TFLite files as bytes: reads and changes them. Knows nothing of Keras models.

`schema` is the one place that imports TensorFlow's private classes for the format.
"""
