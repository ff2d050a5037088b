"""Fuzzes the reader of Pascal VOC; see common.py."""

from common import fuzz

if __name__ == "__main__":
    fuzz("voc", "a.xml")
