"""Fuzzes the reader of CVAT; see common.py."""

from common import fuzz

if __name__ == "__main__":
    fuzz("cvat", "annotations.xml")
