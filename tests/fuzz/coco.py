"""Fuzzes the reader of COCO; see common.py."""

from common import fuzz

if __name__ == "__main__":
    fuzz("coco", "_annotations.coco.json")
