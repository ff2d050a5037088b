"""Fuzzes the reader of YOLO; see common.py."""

from common import fuzz

if __name__ == "__main__":
    fuzz("yolo", "a.txt", "data.yaml")
