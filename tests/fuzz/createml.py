"""Fuzzes the reader of CreateML; see common.py."""

from common import fuzz

if __name__ == "__main__":
    fuzz("createml", "_annotations.createml.json")
