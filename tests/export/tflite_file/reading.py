"""Reads the metadata of MediaPipe in a TFLite file, without mediapipe."""


def metadata_of(content):
    """The bytes of the metadata inside a TFLite file."""
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.Model.GetRootAsModel(content, 0)
    entries = [model.Metadata(i) for i in range(model.MetadataLength())]
    (entry,) = (each for each in entries if each.Name() == b"TFLITE_METADATA")
    return model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()


def thresholds_in(metadata):
    """The score thresholds of the output tensors, read field by field as the schema numbers them.

    Root: 3 subgraph_metadata; SubGraphMetadata: 3 output_tensor_metadata; TensorMetadata: 0 name,
    4 process_units; ProcessUnit: 0 options_type (3 is ScoreThresholdingOptions), 1 options.
    """
    import flatbuffers
    from flatbuffers import number_types as kinds

    def table(place):
        return flatbuffers.table.Table(metadata, place)

    def field(of, number):
        return of.Offset(4 + 2 * number)

    def items(of, number):
        start = field(of, number)
        count = of.VectorLen(start) if start else 0
        return [table(of.Indirect(of.Vector(start) + 4 * i)) for i in range(count)]

    root = table(int.from_bytes(metadata[:4], "little"))
    (graph,) = items(root, 3)
    found = {}
    for tensor in items(graph, 3):
        for unit in items(tensor, 4):
            start = field(unit, 0)
            assert unit.Get(kinds.Uint8Flags, unit.Pos + start) == 3
            options = table(unit.Indirect(unit.Pos + field(unit, 1)))
            value = options.Get(kinds.Float32Flags, options.Pos + field(options, 0))
            found[tensor.String(tensor.Pos + field(tensor, 0))] = value
    return found
