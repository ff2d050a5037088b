"""How to tell which EfficientNet a file holds: names do not always say it."""

# From (number of blocks, channels after the last one, squeeze-and-excitation) to the variant.
EFFICIENTNETS_BY_SHAPE = {
    (16, 320, True): "b0",
    (23, 320, True): "b1",
    (23, 352, True): "b2",
    (26, 384, True): "b3",
    (32, 448, True): "b4",
    (39, 512, True): "b5",
    (45, 576, True): "b6",
    (55, 640, True): "b7",
    (16, 320, False): "lite0",
    (21, 320, False): "lite1",
    (21, 352, False): "lite2",
    (24, 384, False): "lite3",
    (30, 448, False): "lite4",
}
