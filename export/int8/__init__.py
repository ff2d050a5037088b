"""8-bit TFLite files: ranges from calibration data, and the layers that stay in float32."""
