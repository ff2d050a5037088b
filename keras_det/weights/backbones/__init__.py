"""ImageNet weights of backbones: ResNets (torchvision, timm, keras-hub), EfficientNets (Keras)."""
