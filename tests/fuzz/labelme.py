"""Fuzzes the reader of LabelMe; see common.py."""

from common import fuzz

if __name__ == "__main__":
    fuzz("labelme", "a.json")
